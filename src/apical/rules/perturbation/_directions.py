"""Directions of unit variance, and what a model must have to be moved along them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import beside

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
    return Correlation(jnp.sqrt(jnp.mean(jnp.square(slopes))))


def draw(key: jax.Array, tree: Any, count: int, kind: str) -> Any:
    """`count` independent directions: each leaf with one more axis in front."""
    leaves, treedef = jax.tree.flatten(tree)
    sizes = [math.prod(leaf.shape) for leaf in leaves]
    # All at once: a generator is compiled anew for every shape.
    form = (count, sum(sizes))
    generator = jax.random.normal if kind == "normal" else signs
    numbers = generator(key, form)
    parts = jnp.split(numbers, list(accumulate(sizes))[:-1], axis=1)
    shaped = [
        beside(part.reshape(count, *leaf.shape).astype(leaf.dtype), leaf, axes=1)
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, shaped)


def signs(key: jax.Array, form: tuple[int, int]) -> jax.Array:
    """Minus or plus one, each bit of the generator used: a tenth of a normal's time."""
    words = jax.random.bits(key, (form[0], -(-form[1] // 32)), "uint32")
    places = jnp.arange(32, dtype="uint32")
    bits = (words[..., None] >> places) & 1
    return 2.0 * bits.reshape(form[0], -1)[:, : form[1]].astype(float) - 1.0


def require_real(numbers: Iterable[tuple[str, Any]], rule: str) -> None:
    """Refuse complex numbers: a slope along a direction says half of what they need."""
    for name, dtype in numbers:
        if jnp.issubdtype(dtype, jnp.complexfloating):
            raise ValueError(
                f"{rule} moves along random real directions, and {name} is {dtype}. "
                "Hold its real and its imaginary part as two arrays."
            )


def require_precise(numbers: Iterable[tuple[str, Any]], rule: str) -> None:
    """Refuse numbers in which a small difference of two losses is lost."""
    for name, dtype in numbers:
        if jnp.finfo(dtype).bits < 32:
            raise ValueError(
                f"{rule} reads small differences, and {name} is {dtype}, whose "
                "rounding hides them. Use float32 there, or `ForwardGradient`, which "
                "takes no difference."
            )
