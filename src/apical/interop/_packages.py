"""Packages that come with an extra, or the message that says how to install them."""

from importlib import import_module
from typing import Any


def imported(package: str, extra: str, purpose: str = "") -> Any:
    """A package that `apical.interop.<extra>` needs, untyped: it may not be there.

    Args:
      package: the name of the package.
      extra: the module of `apical.interop` that needs it, and the extra that has it.
      purpose: what it is needed for, where other parts of the module work without it.

    Raises:
      ImportError: where it, or what it needs, is not installed: names the extra.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as missing:
        why = f" {purpose}" if purpose else ""
        raise ImportError(
            f"apical.interop.{extra} needs the package {missing.name}{why}: install "
            f"apical[{extra}]."
        ) from missing
