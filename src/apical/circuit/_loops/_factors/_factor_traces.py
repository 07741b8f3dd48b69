"""Eligibility traces with a factor for each end of a synapse.

    e_t   ~ phi_t xi_t^T,      phi_t = eps_t / (1 - b^t)
    xi_t  = a xi_{t-1} + x_t
    eps_t = b D_t eps_{t-1} + (1 - b) d(states_t)/d(drive)

x_t is the input of the synapse and D_t the derivative of a unit's states by those
before. What step t contributes to the loss depends on the states before it, with
derivative lambda_t, and on the drives, with delta_t. The credit that meets xi_t is

    (b lambda_t . eps_{t-1} + (1 - b) delta_t) / (1 - b^t),

which is (dL_t/d states_t) . phi_t where the loss reads the states after the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._evaluate._manual_axes import scan
from .._traces._unit_loop import UnitLoop


class Decays(NamedTuple):
    """The constants of the two filters.

    Attributes:
      input: a, of the inputs of synapses.
      derivative: b, of the derivatives of states by drives.
    """

    input: Any
    derivative: Any


class FactorTraces(NamedTuple):
    """The eligibility traces of a loop, each with a factor for both ends of a synapse.

    Attributes:
      inputs: xi for each traced synapse, in the shape of its input.
      derivatives: eps for each drive, `[states, ...]`: the outputs of traced synapses,
        traced uses of weights, and inputs of the loop.
      weight: 1 - b^t after t steps.
    """

    inputs: list[jax.Array]
    derivatives: list[jax.Array]
    weight: jax.Array


class DriveSteps(NamedTuple):
    """What a drive does in each step of a chunk.

    Attributes:
      through: `[steps, states, states, ...]`, the derivatives D of the states of the
        unit of each entry by the same states before.
      fresh: `[steps, states, ...]`, the derivatives of these states by the drive.
      before: `[steps, states, ...]`, lambda at these states; None without credit.
      here: `[steps, ...]`, delta; None without credit.
    """

    through: jax.Array
    fresh: jax.Array
    before: jax.Array | None
    here: jax.Array | None


@dataclass(frozen=True, eq=False)
class Drives:
    """What drives the units of a loop: synapses, uses of weights, inputs, in order."""

    loop: UnitLoop

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """Their variables."""
        loop, step = self.loop, self.loop.step
        return (
            *(step.synapses[i].output for i in loop.traced),
            *(step.uses[j][0].outputs[0] for j in loop.used),
            *(step.xs[i] for i in loop.driving_inputs),
        )

    @cached_property
    def units(self) -> list[np.ndarray]:
        """The unit that each entry of a drive belongs to."""
        return list(map(self.loop.driven, self.numbers))

    def zeros(self, length: int) -> tuple[dict[int, Any], ...]:
        """Zeros in the shapes of the drives, for some steps, as `grouped` returns."""
        step = self.loop.step
        shapes = [((length, *step.shape(n)), step.dtype(n)) for n in self.numbers]
        return self.grouped([jnp.zeros(*each) for each in shapes])

    def grouped(self, each: Sequence[Any]) -> tuple[dict[int, Any], ...]:
        """Values of the drives in three dictionaries by position."""
        loop, values = self.loop, iter(each)
        groups = (loop.traced, loop.used, loop.driving_inputs)
        return tuple({i: next(values) for i in group} for group in groups)


def factor_zeros(loop: UnitLoop) -> FactorTraces:
    """The traces at the start of a sequence."""
    step, states = loop.step, loop.units.states

    def zeros(shape: Sequence[int], *dtypes: Any) -> jax.Array:
        return jnp.zeros(tuple(shape), jnp.result_type(jnp.float32, *dtypes))

    inputs = []
    for i in loop.traced:
        source = step.synapses[i].input
        assert isinstance(source, int)
        inputs.append(zeros(step.shape(source), step.dtype(source)))
    derivatives = [
        zeros((states, *step.shape(n)), step.dtype(n), loop.dtype)
        for n in Drives(loop).numbers
    ]
    return FactorTraces(inputs, derivatives, jnp.zeros((), loop.dtype).real)


def filtered_inputs(
    traces: Sequence[jax.Array], inputs: Sequence[Any], decay: Any
) -> tuple[list[jax.Array], list[jax.Array]]:
    """The filtered inputs xi after a chunk, and those of each of its steps."""

    def step(held: Any, x: Any) -> Any:
        held = [(decay * h + x).astype(h.dtype) for h, x in zip(held, x, strict=True)]
        return held, held

    return scan(step, list(traces), list(inputs))


def filtered_derivatives(
    traces: FactorTraces, drives: Sequence[DriveSteps], decay: Any
) -> tuple[list[jax.Array], jax.Array, list[jax.Array]]:
    """The filtered derivatives eps after a chunk, their weight, and the credit.

    Args:
      traces: the traces before the chunk.
      drives: what each drive does in the steps.
      decay: b.

    Returns:
      What `traces` has of eps, after the chunk, and for each drive the credit that
      meets xi at each step, `[steps, ...]`; no credit without `before` and `here`.
    """

    def step(state: Any, steps: Sequence[DriveSteps]) -> Any:
        held, weight = state
        weight = (decay * weight + (1 - decay)).astype(weight.dtype)
        credit, after = [], []
        for h, each in zip(held, steps, strict=True):
            # Over the few states of a unit: many times faster than `jnp.sum`.
            kept = sum(each.through[:, q] * h[q] for q in range(len(h)))
            after.append((decay * kept + (1 - decay) * each.fresh).astype(h.dtype))
            if each.before is not None:
                past = sum(each.before[q] * h[q] for q in range(len(h)))
                credit.append((decay * past + (1 - decay) * each.here) / weight)
        return (after, weight), credit

    start = list(traces.derivatives), traces.weight
    (held, weight), credit = scan(step, start, list(drives))
    return held, weight, credit
