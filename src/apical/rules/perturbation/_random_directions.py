"""Random directions of unit variance, and checks of the dtypes that are perturbed.

v ~ N(0, 1)      or      v = +1 or -1 with probability 1/2 each
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import beside, key_of_device, mean_over_devices, varying
from .._random import draw_arrays

KINDS = ("normal", "sign")


class Correlation(NamedTuple):
    """Diagnostics of an estimate from slopes along random directions.

    Attributes:
      slope: the root mean square of the slope along a direction, over the draws (and
        the examples, where each has its own): an estimate of the gradient's norm.
    """

    slope: jax.Array


def correlation(slopes: jax.Array) -> Correlation:
    """The diagnostics of these slopes."""
    return Correlation(jnp.sqrt(mean_over_devices(jnp.mean(jnp.square(slopes)))))


def draw(key: jax.Array, tree: Any, count: int, kind: str) -> Any:
    """`count` independent directions, along a new leading axis of each leaf."""
    leaves, treedef = jax.tree.flatten(tree)
    law = jax.random.normal if kind == "normal" else signs
    found: list[Any] = [None] * len(leaves)
    # What differs from device to device gets numbers of its own on each.
    for axes in dict.fromkeys(map(varying, leaves)):
        here = [i for i, leaf in enumerate(leaves) if varying(leaf) == axes]
        own = key_of_device(key, leaves[here[0]])
        drawn = draw_arrays(own, [leaves[i].shape for i in here], law, count)
        for i, x in zip(here, drawn, strict=True):
            found[i] = beside(x.astype(leaves[i].dtype), leaves[i], axes=1)
    return jax.tree.unflatten(treedef, found)


def signs(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Random signs from single random bits: ten times faster than normal numbers."""
    words = jax.random.bits(key, (shape[0], -(-shape[1] // 32)), "uint32")
    places = jnp.arange(32, dtype="uint32")
    bits = (words[..., None] >> places) & 1
    return 2.0 * bits.reshape(shape[0], -1)[:, : shape[1]].astype(float) - 1.0


def require_real(numbers: Iterable[tuple[str, Any]], rule: str) -> None:
    """Raise for complex numbers: real directions cover half of their gradient."""
    for name, dtype in numbers:
        if jnp.issubdtype(dtype, jnp.complexfloating):
            raise ValueError(
                f"{rule} moves along random real directions, and {name} is {dtype}. "
                "Hold its real and its imaginary part as two arrays."
            )


def require_precise(numbers: Iterable[tuple[str, Any]], rule: str) -> None:
    """Raise for dtypes whose rounding hides the small difference of two losses."""
    for name, dtype in numbers:
        if jnp.finfo(dtype).bits < 32:
            raise ValueError(
                f"{rule} reads small differences, and {name} is {dtype}, whose "
                "rounding hides them. Use float32 there, or `ForwardGradient`, which "
                "takes no difference."
            )
