"""The package keras with its JAX backend, or the message that says how to have it."""

from typing import Any

from .._packages import imported


def _with_jax() -> Any:
    found = imported("keras", "keras")
    backend = found.backend.backend()
    if backend != "jax":
        raise ImportError(
            f"keras runs on its backend {backend!r}; apical needs that of JAX. Set "
            'os.environ["KERAS_BACKEND"] = "jax" before keras is imported.'
        )
    return found


keras = _with_jax()
"""keras as it is, of any version: untyped, so that types are checked without it."""
