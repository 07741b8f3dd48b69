"""The package keras with its JAX backend, or the message that says how to have it."""

from importlib import import_module
from typing import Any


def _imported() -> Any:
    try:
        found = import_module("keras")
    except ModuleNotFoundError as missing:
        raise ImportError(
            f"apical.interop.keras needs the package {missing.name}: install "
            "apical[keras]."
        ) from missing
    backend = found.backend.backend()
    if backend != "jax":
        raise ImportError(
            f"keras runs on its backend {backend!r}; apical needs that of JAX. Set "
            'os.environ["KERAS_BACKEND"] = "jax" before keras is imported.'
        )
    return found


keras = _imported()
"""keras as it is, of any version: untyped, so that types are checked without it."""
