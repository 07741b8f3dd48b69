"""The packages torch and torchax, or the message that says how to install them."""

from importlib import import_module
from importlib.metadata import version
from typing import Any


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        raise ImportError(
            f"apical.interop.torch needs the package {missing.name}: install "
            "apical[torch]."
        ) from missing
    except AttributeError as error:
        # torchax names operations of torch by their overloads, which come and go.
        raise ImportError(
            f"torchax {version('torchax')} does not support torch {version('torch')} "
            f"({error}). Install versions that fit each other: apical[torch] has them."
        ) from error


torch = _imported("torch")
torchax = _imported("torchax")
"""torch as it is, of any version: untyped, so that types are checked without it."""
