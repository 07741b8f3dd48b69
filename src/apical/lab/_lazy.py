"""Names of a package that are imported when they are first used."""

import importlib
from collections.abc import Mapping
from typing import Any

from apical.lab._errors import MissingPackage


def attribute(package: str, homes: Mapping[str, str], name: str) -> Any:
    """The attribute of a package from the module that defines it.

    Args:
        package: the package's name.
        homes: the module of each attribute, relative to the package.
        name: the attribute.

    Raises:
        AttributeError: where the package has no such attribute.
        MissingPackage: where the module needs a package that is not installed.
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    try:
        home = importlib.import_module(f"{package}.{homes[name]}")
    except ModuleNotFoundError as missing:
        needed = (missing.name or "").partition(".")[0]
        if needed in ("", "apical"):
            raise
        raise MissingPackage(
            f"{package} needs the package {needed}: install apical[lab]"
        ) from missing
    return getattr(home, name)
