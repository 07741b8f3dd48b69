"""Gradients of a chunk of steps, from eligibility traces, and the traces after it.

All steps of a chunk are differentiated at once, each by itself; then one pass from the
last step to the first follows the units alone. Two products for each synapse remain:
one is the gradient, the other updates the traces. The result does not depend on the
number of steps in a chunk: with one step it is the online rule as it is written; with
more it is faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._evaluate._manual_axes import all_varying, axes_of, scan, vary_as
from .._steps._cotangents import inner
from .._steps._step_evaluation import StepResult, evaluate
from .._steps._weight_values import (
    Fixed,
    add_at_synapse,
    add_at_use,
    added,
    fixed_values,
    over_free,
    replaced,
)
from .._units._synapse_axes import SynapseAxes
from ._unit_loop import Traces, UnitLoop


class Apart(NamedTuple):
    """The inputs and outputs of each synapse, for each step of a chunk."""

    inputs: list[Any]
    outputs: list[Any]


class Within(NamedTuple):
    """The derivatives of each step by itself.

    Attributes:
      weights: with respect to the weights.
      carry: with respect to the active carries before each step: `lambda`.
      xs: with respect to the inputs, by position.
    """

    weights: list[Any]
    carry: list[Any]
    xs: dict[int, Any]


class Along(NamedTuple):
    """The pass along units, from the last step of a chunk to the first.

    Row 0, if there is one, is the credit of the outputs; the others are the
    derivatives of the states after the chunk, one row for each slot of a unit.

    Attributes:
      start: `[rows, states]`, with respect to the states before the chunk.
      outputs: with respect to the traced outputs of synapses: `[steps, rows, ...]`.
      uses: with respect to the traced uses of weights.
      xs: with respect to the inputs that drive units, row 0 alone.
    """

    start: jax.Array
    outputs: dict[int, Any]
    uses: dict[int, Any]
    xs: dict[int, Any]


def run_steps(
    loop: UnitLoop, fixed: Fixed, carry: Sequence[Any], xs: Sequence[Any], length: int
) -> tuple[list[Any], list[Any]]:
    """The steps in turn: the carry after the last, and those before each."""
    values = fixed_values(loop.step, fixed)

    def step(carry: Any, x: Any) -> Any:
        found = evaluate(loop.step, values, fixed.copies, carry, x, taps=loop.taps)
        return found.carry, carry

    return scan(step, list(carry), list(xs), length=length)


def steps_apart(
    loop: UnitLoop, fixed: Fixed, before: Sequence[Any], xs: Sequence[Any]
) -> tuple[list[Any], list[Any], Apart]:
    """Each step from the carry before it: carries, outputs, and values at synapses.

    Recurrent synapses read the carry without a derivative.
    """
    values = fixed_values(loop.step, fixed)

    def one(carry: Any, x: Any) -> Any:
        found = evaluate(
            loop.step,
            values,
            fixed.copies,
            carry,
            x,
            recurrence=loop.recurrence,
            taps=loop.taps,
        )
        return found.last, found.ys, Apart(found.inputs, found.outputs)

    return jax.vmap(one)(list(before), list(xs))


def within_steps(
    loop: UnitLoop,
    fixed: Fixed,
    before: Sequence[Any],
    xs: Sequence[Any],
    ybar: Sequence[Any],
    last: Sequence[Any],
) -> tuple[Within, Apart]:
    """The derivatives of each step by itself, and the values at synapses.

    Args:
      loop: the loop.
      fixed: what is fixed.
      before: the carries before each step.
      xs: the inputs of the steps.
      ybar: the cotangents of the outputs; None where there is none.
      last: the cotangents of the carries after the last step; None alike.
    """
    learned = learned_inputs(loop, xs)

    def total(weights: Any, acts: Any, inputs: Any) -> Any:
        carry, ys, apart = steps_apart(
            loop,
            fixed._replace(weights=weights),
            replaced(before, dict(zip(loop.active, acts, strict=True))),
            replaced(xs, inputs),
        )
        parts = [inner(b, y) for b, y in zip(ybar, ys, strict=True)]
        parts += [inner(b, c[-1]) for b, c in zip(last, carry, strict=True)]
        return sum(parts, start=jnp.zeros(())), apart

    acts, inputs = [before[i] for i in loop.active], {i: xs[i] for i in learned}
    slopes, apart = jax.grad(total, (0, 1, 2), has_aux=True)(
        list(fixed.weights), acts, inputs
    )
    return Within(*slopes), apart


def learned_inputs(loop: UnitLoop, xs: Sequence[Any]) -> list[int]:
    """The positions of the inputs that depend on parameters, or are injected."""
    step = loop.step
    learned = [i for i, n in enumerate(step.xs) if step.learns(n)]
    return [*learned, *range(len(step.xs), len(xs))]


def along_units(
    loop: UnitLoop,
    fixed: Fixed,
    before: Sequence[Any],
    xs: Sequence[Any],
    apart: Apart,
    end: jax.Array,
    slopes: Sequence[Any] | None,
) -> Along:
    """The pass along units alone.

    Args:
      loop: the loop.
      fixed: what is fixed.
      before: the carries before each step.
      xs: the inputs of the steps.
      apart: the values at synapses.
      end: `[rows, states]`, the rows after the last step.
      slopes: the `lambda` of each step, which it adds to row 0; None if there is no
        credit.
    """
    values = fixed_values(loop.step, fixed)
    driving = () if slopes is None else loop.driving_inputs

    def back(rows: jax.Array, slices: Any) -> Any:
        carry, x, outputs, slope = slices

        def after(*moved: Any) -> Any:
            found = cut_step(loop, values, fixed.copies, carry, x, outputs, *moved)
            return [found.carry[i] for i in loop.active]

        dx = {i: jnp.zeros_like(x[i]) for i in driving}
        ends, pull = jax.vjp(after, *still(loop, carry, outputs), dx)
        acts, *rest = jax.vmap(lambda row: pull(vary_as(loop.unflat(row), ends)))(rows)
        rows = jax.vmap(loop.flat)(acts)
        if slope is not None:
            rows = rows.at[0].add(loop.flat(slope))
        return rows, rest

    slices = list(before), list(xs), apart.outputs, slopes
    start, (outputs, uses, moved) = scan(back, end, slices, reverse=True)
    return Along(start, outputs, uses, {i: d[:, 0] for i, d in moved.items()})


def still(loop: UnitLoop, carry: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """The active carries, and zero offsets of traced synapses and uses."""
    step = loop.step
    made = {j: step.uses[j][0].outputs[0] for j in loop.used}
    zeros = {j: jnp.zeros(step.shape(n), step.dtype(n)) for j, n in made.items()}
    return (
        [carry[i] for i in loop.active],
        {i: jnp.zeros_like(outputs[i]) for i in loop.traced},
        all_varying(zeros, axes_of((carry, outputs))),
    )


def cut_step(
    loop: UnitLoop,
    values: dict[int, Any],
    copies: Sequence[Any],
    carry: Sequence[Any],
    x: Sequence[Any],
    outputs: Sequence[Any],
    acts: Sequence[Any],
    ds: dict[int, Any],
    du: dict[int, Any],
    dx: dict[int, Any],
) -> StepResult:
    """A step whose synapses are cut: their outputs are given.

    What remains are the units alone, as a function of their states `acts` and of
    offsets: `ds` of the outputs of synapses, `du` of the uses of weights, `dx` of the
    inputs.
    """
    return evaluate(
        loop.step,
        values,
        copies,
        replaced(carry, dict(zip(loop.active, acts, strict=True))),
        replaced(x, {i: x[i] + d for i, d in dx.items()}),
        recurrence=loop.recurrence if loop.recurrence.own else None,
        output=lambda i, _: outputs[i] + ds[i] if i in ds else outputs[i],
        use=lambda j, w: added(w, du[j]) if j in du else w,
        taps=loop.taps,
    )


def step_gradients(
    loop: UnitLoop, direct: list[Any], apart: Apart, along: Along
) -> list[Any]:
    """The gradients of the weights from the steps of a chunk.

    Args:
      loop: the loop.
      direct: the derivatives of each step by itself.
      apart: the values of the steps.
      along: the pass along units, with the credit in row 0.
    """
    found = list(direct)
    for i, axes in loop.traced.items():
        x = jax.vmap(axes.read)(apart.inputs[i])
        d = jax.vmap(axes.made)(along.outputs[i][:, 0])
        grad = jnp.einsum(f"z{axes.output},z{axes.input}->{axes.weight}", d, x)
        add_at_synapse(loop, found, i, grad)
    for j in loop.used:
        add_at_use(loop, found, j, jnp.sum(along.uses[j][:, 0], 0))
    return found


def trace_gradients(
    loop: UnitLoop, found: list[Any], credit: jax.Array, traces: Traces
) -> list[Any]:
    """The gradients of the weights from what happened before: credit times traces.

    Args:
      loop: the loop.
      found: the gradients so far.
      credit: `[states]`, the credit of the states before the chunk.
      traces: the traces before the chunk.
    """
    found = list(found)
    for trace, (i, axes) in zip(traces.synapses, loop.traced.items(), strict=True):
        units = axes.made(loop.driven(loop.step.synapses[i].output))
        if loop.factored:
            formula = f"{axes.output},{axes.input}->{axes.weight}"
            grad = jnp.einsum(formula, loop.at_slot(credit, units, 0), trace)
        else:
            terms = loop.through_units(credit, units, trace, axes)
            grad = over_free(terms, len(axes.free))
        add_at_synapse(loop, found, i, grad)
    for trace, j in zip(traces.uses, loop.used, strict=True):
        units = loop.driven(loop.step.uses[j][0].outputs[0])
        add_at_use(loop, found, j, loop.through_units(credit, units, trace))
    return found


def next_traces(
    loop: UnitLoop, apart: Apart, along: Along, traces: Traces, first: int
) -> Traces:
    """The traces after a chunk.

    Args:
      loop: the loop.
      apart: the values at synapses.
      along: the pass along units.
      traces: the traces before the chunk.
      first: the position of the row of the first slot.
    """
    step = loop.step
    rows = along.start[first : first + loop.units.states]
    synapses = []
    for old, (i, axes) in zip(traces.synapses, loop.traced.items(), strict=True):
        x = jax.vmap(axes.read)(apart.inputs[i])
        d = jax.vmap(jax.vmap(axes.made))(along.outputs[i])
        units = axes.made(loop.driven(step.synapses[i].output))
        if loop.factored:
            decay = loop.at_slot(rows[0], units.ravel()[:1], 0)[0]
            synapses.append(_filtered(axes, decay, old, x, d[:, first]))
            continue
        formula = f"z{axes.output},z{axes.input}->{axes.free + axes.weight}"
        fresh = [
            jnp.einsum(formula, d[:, first + p], x) for p in range(loop.units.states)
        ]
        kept = [loop.through_units(row, units, old, axes) for row in rows]
        synapses.append(_stacked(fresh, kept, old))
    uses = []
    for old, j in zip(traces.uses, loop.used, strict=True):
        units = loop.driven(step.uses[j][0].outputs[0])
        fresh = list(jnp.sum(along.uses[j], 0)[first:])
        kept = [loop.through_units(row, units, old) for row in rows]
        uses.append(_stacked(fresh, kept, old))
    return Traces(synapses, uses, traces.filters)


def _stacked(fresh: Sequence[Any], kept: Sequence[Any], old: Any) -> jax.Array:
    pairs = zip(fresh, kept, strict=True)
    return jnp.stack([(a + b).astype(old.dtype) for a, b in pairs])


def _filtered(axes: SynapseAxes, decay: Any, old: Any, x: Any, d: Any) -> Any:
    """The filtered input of a synapse: sum over t of (d states / d drive)_t input_t.

    All units of a layer have the same factors, so those of one of them are read.
    """
    each = d.reshape(d.shape[0], -1)[:, 0]
    fresh = jnp.einsum(f"z,z{axes.input}->{axes.input}", each, x)
    return (fresh + decay * old).astype(old.dtype)


def end_rows(loop: UnitLoop, *, credit: bool, slots: bool) -> jax.Array:
    """The rows after the last step: no credit, and a one for each slot's own states."""
    found = []
    if credit:
        found.append(np.zeros((1, len(loop.units.slots))))
    if slots:
        every = np.arange(loop.units.states)[:, None]
        found.append(every == loop.units.slots[None])
    return jnp.asarray(np.concatenate(found), loop.dtype)
