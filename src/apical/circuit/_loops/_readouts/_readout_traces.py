"""The traces of filtered activity, and the gradients that read-outs carry by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..._evaluate._feedback_weight import with_feedback_weight
from ..._evaluate._manual_axes import scan, vary_as
from .._steps._weight_values import (
    Fixed,
    add_at_synapse,
    add_at_use,
    fixed_values,
    over_free,
)
from .._traces._unit_credit import Apart, cut_step, still
from .._traces._unit_loop import FilterTrace, Traces, UnitLoop
from ._readout_filters import ReadoutFilter, entry_of_unit


class ReadoutSynapse(NamedTuple):
    """A synapse of a read-out.

    Attributes:
      filter: the read-out.
      position: its position among the synapses of the step.
      scale: the factor of its output.
      first: whether it is the first of its read-out.
    """

    filter: ReadoutFilter
    position: int
    scale: Any
    first: bool


def readout_synapses(filters: Sequence[ReadoutFilter], values: Any) -> Any:
    """Every synapse of the read-outs, in the order of their traces."""
    return [
        ReadoutSynapse(each, i, factor.value(values), n == 0)
        for each in filters
        for n, (i, factor) in enumerate(each.synapses)
    ]


def filter_trace_shapes(
    loop: UnitLoop, filters: Sequence[ReadoutFilter]
) -> list[FilterTrace]:
    """The shapes of the traces."""
    step, found = loop.step, []

    def struct(shape: Any, dtype: Any) -> Any:
        wide = jnp.result_type(jnp.float32, dtype)
        return jax.ShapeDtypeStruct(tuple(shape), wide)

    for each in filters:
        for i, _ in each.synapses:
            source = step.synapses[i].input
            assert isinstance(source, int)
            synapses = [
                struct(axes.traced(1)[1:], loop.dtype) for axes in loop.traced.values()
            ]
            uses = [
                struct(step.shape(step.uses[j][0].outputs[0]), loop.dtype)
                for j in loop.used
            ]
            shape, dtype = step.shape(source), step.dtype(source)
            biases = [struct((), jnp.float32) for _ in each.biases]
            found.append(FilterTrace(struct(shape, dtype), synapses, uses, biases))
    return found


def zero_traces(loop: UnitLoop, filters: Sequence[ReadoutFilter]) -> Traces:
    """The traces at the start of a sequence."""
    shapes = filter_trace_shapes(loop, filters)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return loop.zero_traces()._replace(filters=zeros)


def carried_start(
    loop: UnitLoop,
    filters: Sequence[ReadoutFilter],
    fixed: Fixed,
    traces: Sequence[FilterTrace],
    starts: dict[int, Any],
) -> dict[int, Any]:
    """The first values of read-outs, with the derivative of what they hold.

    Args:
      loop: the loop of the units.
      filters: the read-outs that continue.
      fixed: what is fixed in the step of the units.
      traces: the traces of filtered activity.
      starts: the first value of each read-out, by the position of its carry.
    """
    found = {k: jax.lax.stop_gradient(x) for k, x in starts.items()}
    values = fixed_values(loop.step, fixed)
    for synapse, trace in zip(readout_synapses(filters, values), traces, strict=True):
        each, k = synapse.filter, synapse.filter.carry
        held = _learned_filter(loop, synapse.position, fixed.weights, trace)
        held = loop.taps.consumed_after(loop.step, synapse.position, held)
        op, position = _operation(loop, synapse.position)
        w = values[op.inputs[position]]
        copy = fixed.copies[synapse.position]
        held = held.astype(found[k].dtype)
        if copy is None:
            made = op(w, held)[0] if position == 0 else op(held, w)[0]
        else:
            made = with_feedback_weight(op, position, held, w, copy)
        found[k] = found[k] + (made - jax.lax.stop_gradient(made))
        if not synapse.first:
            continue  # the biases are those of the read-out: once
        for (number, _), beta in zip(each.biases, trace.biases, strict=True):
            bias = values[number] * beta.astype(values[number].dtype)
            found[k] = found[k] + (bias - jax.lax.stop_gradient(bias))
    return found


def _operation(loop: UnitLoop, i: int) -> tuple[Any, int]:
    synapse = loop.step.synapses[i]
    return synapse.op, synapse.weight


def _learned_filter(loop: UnitLoop, i: int, weights: Any, trace: FilterTrace) -> Any:
    """The filtered activity, as a function of the weights of the units."""
    source = loop.step.synapses[i].input
    assert isinstance(source, int)

    @jax.custom_vjp
    def held(weights: Any, trace: Any) -> Any:
        del weights
        return trace.held

    def forward(weights: Any, trace: Any) -> Any:
        return trace.held, (weights, trace)

    def backward(saved: Any, slope: Any) -> Any:
        weights, trace = saved
        grads = [jnp.zeros_like(w) for w in weights]
        flat = jnp.concatenate([jnp.ravel(slope), jnp.zeros((1,), slope.dtype)])
        entries = entry_of_unit(loop.units, source)
        for f, (j, axes) in zip(trace.synapses, loop.traced.items(), strict=True):
            units = axes.made(loop.driven(loop.step.synapses[j].output))
            signal = axes.spread(flat[entries[units]])
            add_at_synapse(loop, grads, j, over_free(signal * f, len(axes.free)))
        for f, j in zip(trace.uses, loop.used, strict=True):
            units = loop.driven(loop.step.uses[j][0].outputs[0])
            add_at_use(loop, grads, j, flat[entries[units]] * f)
        return grads, jax.tree.map(jnp.zeros_like, trace)

    held.defvjp(forward, backward)
    return held(list(weights), trace)


def next_filters(
    loop: UnitLoop,
    filters: Sequence[ReadoutFilter],
    fixed: Fixed,
    before: Sequence[Any],
    xs: Sequence[Any],
    apart: Apart,
    traces: Traces,
    length: int,
) -> list[FilterTrace]:
    """The traces of filtered activity after a chunk; `traces` are those before it."""
    values, found = fixed_values(loop.step, fixed), []
    pairs = zip(readout_synapses(filters, values), traces.filters, strict=True)
    for synapse, old in pairs:
        decay = synapse.filter.decay(values)
        powers = decay ** jnp.arange(length - 1, -1, -1)
        weights = synapse.scale * powers  # of the activity of each step, at the end
        start, outputs, uses = _back(
            loop, fixed, before, xs, apart, synapse.position, weights
        )
        kept = decay**length
        x = apart.inputs[synapse.position]
        held = kept * old.held + jnp.tensordot(weights, x, 1)
        synapses = [
            _next(loop, j, axes, kept * f, apart, outputs[j], start, eps)
            for f, eps, (j, axes) in zip(
                old.synapses, traces.synapses, loop.traced.items(), strict=True
            )
        ]
        new_uses = []
        for f, eps, j in zip(old.uses, traces.uses, loop.used, strict=True):
            units = loop.driven(loop.step.uses[j][0].outputs[0])
            grown = loop.through_units(start, units, eps)
            new_uses.append(kept * f + jnp.sum(uses[j], 0) + grown)
        biases = [
            kept * beta + factor.value(values) * jnp.sum(powers)
            for (_, factor), beta in zip(synapse.filter.biases, old.biases, strict=True)
        ]
        made = FilterTrace(held, synapses, new_uses, biases)
        found.append(jax.tree.map(lambda a, b: a.astype(b.dtype), made, old))
    return found


def _next(
    loop: UnitLoop,
    j: int,
    axes: Any,
    old: Any,
    apart: Apart,
    d: Any,
    start: Any,
    eps: Any,
) -> Any:
    order = axes.free + axes.weight
    x, d = jax.vmap(axes.read)(apart.inputs[j]), jax.vmap(axes.made)(d)
    fresh = jnp.einsum(f"z{axes.output},z{axes.input}->{order}", d, x)
    units = axes.made(loop.driven(loop.step.synapses[j].output))
    if loop.factored:  # one filtered input for all units
        letters = f"{axes.output},{axes.input}->{order}"
        grown = jnp.einsum(letters, loop.at_slot(start, units, 0), eps)
    else:
        grown = loop.through_units(start, units, eps, axes)
    return old + fresh + grown


def _back(
    loop: UnitLoop,
    fixed: Fixed,
    before: Sequence[Any],
    xs: Sequence[Any],
    apart: Apart,
    index: int,
    weights: Any,
) -> tuple[Any, Any, Any]:
    """The derivatives of each unit's filtered activity at the end of a chunk.

    With respect to the states before it, the traced outputs of synapses, and the uses
    of weights, along units alone.
    """
    values = fixed_values(loop.step, fixed)

    def back(row: Any, given: Any) -> Any:
        carry, x, outputs, weight = given

        def after(acts: Any, ds: Any, du: Any) -> Any:
            given = carry, x, outputs, acts, ds, du, {}
            found = cut_step(loop, values, fixed.copies, *given)
            return [found.carry[i] for i in loop.active], found.inputs[index]

        found, pull = jax.vjp(after, *still(loop, carry, outputs))
        slope = jnp.full(found[1].shape, weight, found[1].dtype)
        acts, ds, du = pull(vary_as((loop.unflat(row), slope), found))
        return loop.flat(acts), (ds, du)

    row = jnp.zeros((len(loop.units.slots),), loop.dtype)
    slices = list(before), list(xs), apart.outputs, weights
    start, (outputs, uses) = scan(back, row, slices, reverse=True)
    return start, outputs, uses
