"""The packages torch and torchax, or the message that says how to install them."""

from importlib.metadata import version

from .._packages import imported

# As they are, of any version: untyped, so that types are checked without them.
try:
    torch = imported("torch", "torch")
    torchax = imported("torchax", "torch")
except AttributeError as error:
    # torchax names operations of torch by their overloads, which come and go.
    raise ImportError(
        f"torchax {version('torchax')} does not support torch {version('torch')} "
        f"({error}). Install versions that fit each other: apical[torch] has them."
    ) from error
