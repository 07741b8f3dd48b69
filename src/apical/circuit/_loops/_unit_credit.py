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

from ._step_evaluation import evaluate
from ._synapse_axes import SynapseAxes
from ._unit_loop import Traces, UnitLoop
from ._weight_values import (
    Fixed,
    added,
    fixed_values,
    over_free,
    positions_of,
    replaced,
    to_weight,
)


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
    values = fixed_values(loop, fixed)

    def step(carry: Any, x: Any) -> Any:
        found = evaluate(loop.step, values, fixed.copies, carry, x)
        return found.carry, carry

    return jax.lax.scan(step, list(carry), list(xs), length=length)


def steps_apart(
    loop: UnitLoop, fixed: Fixed, before: Sequence[Any], xs: Sequence[Any]
) -> tuple[list[Any], list[Any], Apart]:
    """Each step from the carry before it: carries, outputs, and values at synapses.

    Recurrent synapses read the carry without a derivative.
    """
    values = fixed_values(loop, fixed)

    def one(carry: Any, x: Any) -> Any:
        outputs: dict[int, Any] = {}

        def keep(i: int, y: Any) -> Any:
            outputs[i] = y
            return y

        found = evaluate(
            loop.step,
            values,
            fixed.copies,
            carry,
            x,
            recurrence=loop.recurrence,
            output=keep,
        )
        made = [outputs[i] for i in range(len(loop.step.synapses))]
        return found.carry, found.ys, Apart(found.inputs, made)

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
    learned = [i for i, n in enumerate(loop.step.xs) if loop.step.learns(n)]

    def total(weights: Any, acts: Any, inputs: Any) -> Any:
        carry, ys, apart = steps_apart(
            loop,
            fixed._replace(weights=weights),
            replaced(before, dict(zip(loop.active, acts, strict=True))),
            replaced(xs, inputs),
        )
        parts = [_inner(b, y) for b, y in zip(ybar, ys, strict=True)]
        parts += [_inner(b, c[-1]) for b, c in zip(last, carry, strict=True)]
        return sum(parts, start=jnp.zeros(())), apart

    acts, inputs = [before[i] for i in loop.active], {i: xs[i] for i in learned}
    slopes, apart = jax.grad(total, (0, 1, 2), has_aux=True)(
        list(fixed.weights), acts, inputs
    )
    return Within(*slopes), apart


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
    step, values = loop.step, fixed_values(loop, fixed)
    driving = () if slopes is None else loop.driving_inputs

    def back(rows: jax.Array, slices: Any) -> Any:
        carry, x, outputs, slope = slices

        def cut(acts: Any, ds: Any, du: Any, dx: Any) -> Any:
            found = evaluate(
                step,
                values,
                fixed.copies,
                replaced(carry, dict(zip(loop.active, acts, strict=True))),
                replaced(x, {i: x[i] + d for i, d in dx.items()}),
                recurrence=loop.recurrence if loop.recurrence.own else None,
                output=lambda i, _: outputs[i] + ds[i] if i in ds else outputs[i],
                use=lambda j, w: added(w, du[j]) if j in du else w,
            )
            return [found.carry[i] for i in loop.active]

        ds = {i: jnp.zeros_like(outputs[i]) for i in loop.traced}
        du = {j: _zeros(step, step.uses[j][0].outputs[0]) for j in loop.used}
        dx = {i: jnp.zeros_like(x[i]) for i in driving}
        _, pull = jax.vjp(cut, [carry[i] for i in loop.active], ds, du, dx)
        acts, *rest = jax.vmap(lambda row: pull(loop.unflat(row)))(rows)
        rows = jax.vmap(loop.flat)(acts)
        if slope is not None:
            rows = rows.at[0].add(loop.flat(slope))
        return rows, rest

    slices = list(before), list(xs), apart.outputs, slopes
    start, (outputs, uses, moved) = jax.lax.scan(back, end, slices, reverse=True)
    return Along(start, outputs, uses, {i: d[:, 0] for i, d in moved.items()})


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
    found, at = list(direct), positions_of(loop)
    for i, axes in loop.traced.items():
        synapse = loop.step.synapses[i]
        x = jax.vmap(axes.read)(apart.inputs[i])
        d = jax.vmap(axes.made)(along.outputs[i][:, 0])
        grad = jnp.einsum(f"z{axes.output},z{axes.input}->{axes.weight}", d, x)
        n = at[synapse.op.inputs[synapse.weight]]
        found[n] = found[n] + to_weight(axes.restored(grad), found[n])
    for j in loop.used:
        op, operand = loop.step.uses[j]
        n, grad = at[op.inputs[operand]], jnp.sum(along.uses[j][:, 0], 0)
        found[n] = found[n] + to_weight(grad, found[n])
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
    found, at, slots = list(found), positions_of(loop), range(loop.units.states)
    for trace, (i, axes) in zip(traces.synapses, loop.traced.items(), strict=True):
        synapse = loop.step.synapses[i]
        units = axes.made(loop.driven(synapse.output))
        signals = [loop.at_slot(credit, units, q) for q in slots]
        if loop.factored:
            formula = f"{axes.output},{axes.input}->{axes.weight}"
            grad = jnp.einsum(formula, signals[0], trace)
        else:
            terms = (axes.spread(s) * trace[q] for q, s in enumerate(signals))
            grad = over_free(sum(terms), len(axes.free))
        n = at[synapse.op.inputs[synapse.weight]]
        found[n] = found[n] + to_weight(axes.restored(grad), found[n])
    for trace, j in zip(traces.uses, loop.used, strict=True):
        op, operand = loop.step.uses[j]
        units = loop.driven(op.outputs[0])
        grad = sum(loop.at_slot(credit, units, q) * trace[q] for q in slots)
        n = at[op.inputs[operand]]
        found[n] = found[n] + to_weight(grad, found[n])
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
    step, m = loop.step, loop.units.states
    synapses = []
    for old, (i, axes) in zip(traces.synapses, loop.traced.items(), strict=True):
        x = jax.vmap(axes.read)(apart.inputs[i])
        d = jax.vmap(jax.vmap(axes.made))(along.outputs[i])
        units = axes.made(loop.driven(step.synapses[i].output))
        if loop.factored:
            decay = loop.at_slot(along.start[first], units.ravel()[:1], 0)[0]
            synapses.append(_filtered(axes, decay, old, x, d[:, first]))
            continue
        order = axes.free + axes.weight
        new = []
        for p in range(m):
            fresh = jnp.einsum(
                f"z{axes.output},z{axes.input}->{order}", d[:, first + p], x
            )
            kept = (
                axes.spread(loop.at_slot(along.start[first + p], units, q)) * old[q]
                for q in range(m)
            )
            new.append((fresh + sum(kept)).astype(old.dtype))
        synapses.append(jnp.stack(new))
    uses = []
    for old, j in zip(traces.uses, loop.used, strict=True):
        units = loop.driven(step.uses[j][0].outputs[0])
        new = []
        for p in range(m):
            fresh = jnp.sum(along.uses[j][:, first + p], 0)
            kept = (
                loop.at_slot(along.start[first + p], units, q) * old[q]
                for q in range(m)
            )
            new.append((fresh + sum(kept)).astype(old.dtype))
        uses.append(jnp.stack(new))
    return Traces(synapses, uses, traces.filters)


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


def _inner(cotangent: Any, value: Any) -> Any:
    if cotangent is None:
        return jnp.zeros(())
    # As in `jax.vjp` of complex functions: no conjugate.
    return jnp.sum(cotangent * value).real.astype(jnp.float32)


def _zeros(step: Any, number: int) -> Any:
    return jnp.zeros(step.shape(number), step.dtype(number))
