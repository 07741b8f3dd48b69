"""The values of what is fixed in a step, and gradients in the shapes of its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from ..._evaluate._manual_axes import scan
from .._traces._unit_loop import UnitLoop
from ._step import Step
from ._step_evaluation import NO_TAPS, evaluate
from ._step_taps import StepTaps

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


def fixed_values(step: Step, fixed: Fixed) -> dict[int, Any]:
    """The fixed values by variable."""
    return {**fixed.others, **dict(zip(step.weights, fixed.weights, strict=True))}


def plain_scan(
    step: Step,
    fixed: Fixed,
    carry: Sequence[Any],
    xs: Sequence[Any],
    length: int,
    *,
    reverse: bool = False,
    unroll: int | bool = 1,
    taps: StepTaps = NO_TAPS,
) -> tuple[list[Any], list[Any]]:
    """The steps as they are written: the last carry, and the outputs."""
    values = fixed_values(step, fixed)

    def body(state: Any, x: Any) -> Any:
        found = evaluate(step, values, fixed.copies, state[0], x, taps=taps)
        return (found.carry, found.last if taps.tap else []), found.ys

    begun = list(carry)
    (last, tapped), ys = scan(
        body,
        (begun, begun if taps.tap else []),
        list(xs),
        length=length,
        reverse=reverse,
        unroll=unroll,
    )
    return tapped if taps.tap else last, ys


def replaced(values: Sequence[Any], new: Mapping[int, Any]) -> list[Any]:
    """Values with some of them replaced, by position."""
    return [new.get(i, v) for i, v in enumerate(values)]


def added(weight: Any, offset: Any) -> Any:
    """A weight repeated to the shape of an offset, plus that."""
    return jnp.broadcast_to(weight, offset.shape) + offset


def _to_weight(grad: Any, like: Any) -> Any:
    """A gradient in the shape and dtype of a weight that it repeats."""
    grad = _narrowed(grad, like.shape)
    if jnp.iscomplexobj(grad) and not jnp.iscomplexobj(like):
        grad = grad.real
    return grad.astype(like.dtype)


def add_at_synapse(loop: UnitLoop, grads: list[Any], i: int, grad: Any) -> None:
    """Add to the gradients that of a traced synapse's weight, over its named axes."""
    synapse = loop.step.synapses[i]
    _add(loop, grads, synapse.op.inputs[synapse.weight], loop.traced[i].restored(grad))


def add_at_use(loop: UnitLoop, grads: list[Any], j: int, grad: Any) -> None:
    """Add to the gradients that of a weight at one of its uses, in its shape there."""
    op, operand = loop.step.uses[j]
    _add(loop, grads, op.inputs[operand], grad)


def _add(loop: UnitLoop, grads: list[Any], weight: Any, grad: Any) -> None:
    n = loop.step.weights.index(weight)
    grads[n] = grads[n] + _to_weight(grad, grads[n])


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
