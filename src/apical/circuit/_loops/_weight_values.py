"""The values of what is fixed in a step, and gradients in the shapes of its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from ._unit_loop import UnitLoop

# A sum over the slowest axis of an array is many times slower on a CPU than the same
# sum written out; more terms than this are not written out.
_WRITTEN_OUT = 128


class Fixed(NamedTuple):
    """What is the same at every step.

    Attributes:
      weights: the values of `step.weights`.
      others: the other fixed values, by variable.
      copies: the weight of the backward path of each synapse, or None.
    """

    weights: list[Any]
    others: Mapping[int, Any]
    copies: list[Any]


def positions_of(loop: UnitLoop) -> dict[Any, int]:
    """The position of each weight, by variable."""
    return {n: i for i, n in enumerate(loop.step.weights)}


def fixed_values(loop: UnitLoop, fixed: Fixed) -> dict[int, Any]:
    """The fixed values by variable."""
    pairs = zip(loop.step.weights, fixed.weights, strict=True)
    return {**fixed.others, **dict(pairs)}


def replaced(values: Sequence[Any], new: Mapping[int, Any]) -> list[Any]:
    """Values with some of them replaced, by position."""
    return [new.get(i, v) for i, v in enumerate(values)]


def added(weight: Any, offset: Any) -> Any:
    """A weight repeated to the shape of an offset, plus that."""
    return jnp.broadcast_to(weight, offset.shape) + offset


def to_weight(grad: Any, like: Any) -> Any:
    """A gradient in the shape and dtype of a weight that it repeats."""
    grad = _narrowed(grad, like.shape)
    if jnp.iscomplexobj(grad) and not jnp.iscomplexobj(like):
        grad = grad.real
    return grad.astype(like.dtype)


def _narrowed(x: Any, shape: tuple[int, ...]) -> Any:
    """The sum over the axes along which a value of some shape was repeated."""
    extra = x.ndim - len(shape)
    x = jnp.sum(x, tuple(range(extra))) if extra else x
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1)
    return jnp.sum(x, axes, keepdims=True) if axes else x


def over_free(x: Any, axes: int) -> Any:
    """The sum over leading axes."""
    x = x.reshape(-1, *x.shape[axes:])
    if len(x) > _WRITTEN_OUT:
        return jnp.sum(x, 0)
    return sum((x[i] for i in range(1, len(x))), start=x[0])
