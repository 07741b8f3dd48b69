"""A scan whose derivative is found forwards in time, by eligibility traces.

The trace of a weight is kept from chunk to chunk, so that memory does not grow with the
number of steps. Where an input of the loop depends on parameters and drives units (a
layer applied to all steps before the loop), its cotangent at a step depends on later
ones; such an array holds all steps anyway, and the chunks are then taken from the last
to the first, from carries that were kept. The gradients are the same either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from ..._evaluate._manual_axes import scan
from .._readouts._readout_filters import ReadoutFilter
from .._readouts._readout_traces import next_filters
from .._steps._weight_values import Fixed
from ._chunked_scan import along_chunks, chunked_scan, cut, divided
from ._unit_credit import (
    along_units,
    end_rows,
    next_traces,
    run_steps,
    step_gradients,
    steps_apart,
    trace_gradients,
    within_steps,
)
from ._unit_loop import Traces, UnitLoop


def online_scan(
    loop: UnitLoop,
    fixed: Fixed,
    carry: Sequence[Any],
    xs: Sequence[Any],
    traces: Traces | None,
    chunk: int,
    filters: Sequence[ReadoutFilter] = (),
) -> tuple[list[Any], list[Any], Traces | None]:
    """Run a loop of units.

    Args:
      loop: the loop.
      fixed: what is the same at every step.
      carry: the first carry.
      xs: the inputs, stacked, and the values injected at sites.
      traces: the traces that the carry comes with; None at the start of a sequence.
      chunk: the number of steps that are differentiated at once.
      filters: the read-outs that continue, in the order of `traces.filters`.

    Returns:
      The last carry, the outputs and the values at sites, and the traces after it if
      traces were given.
    """
    chunk = min(chunk, loop.length)
    pulled = _pull_reversed if loop.driving_inputs else _pull_forwards

    def pull(given: Any, ys: Any, last: Any) -> Any:
        fixed, carry, xs, traces, _ = given
        return pulled(loop, fixed, carry, xs, ys, last, traces, chunk)

    def after(fixed: Any, carry: Any, xs: Any, traces: Any, _: Any) -> Any:
        return _traces_after(loop, fixed, carry, xs, traces, chunk, filters)

    return chunked_scan(loop, fixed, carry, xs, traces, None, pull=pull, after=after)


def _traces_after(
    loop: UnitLoop,
    fixed: Fixed,
    carry: Any,
    given: Any,
    traces: Traces,
    chunk: int,
    filters: Sequence[ReadoutFilter],
) -> Traces:
    """The traces after the last step."""

    def step(state: Any, start: Any, length: int, final: bool) -> Any:
        del final
        (carry, traces), xs = state, cut(loop, given, start, length)
        last, before = run_steps(loop, fixed, carry, xs, length)
        _, _, apart = steps_apart(loop, fixed, before, xs)
        rows = end_rows(loop, credit=False, slots=True)
        along = along_units(loop, fixed, before, xs, apart, rows, None)
        held = next_filters(loop, filters, fixed, before, xs, apart, traces, length)
        traces = next_traces(loop, apart, along, traces, 0)
        return (last, traces._replace(filters=held)), None

    return along_chunks(loop, chunk, (carry, traces), step)[0][1]


def _pull_forwards(
    loop: UnitLoop,
    fixed: Fixed,
    carry: Any,
    xs: Any,
    ybar: Any,
    last: Any,
    traces: Traces | None,
    chunk: int,
) -> tuple[list[Any], dict[int, Any], dict[int, Any]]:
    """The cotangents of weights, first carry and inputs, from the first step on."""
    none, stacked = [None] * len(last), (xs, ybar)

    def step(state: Any, at: Any, length: int, final: bool) -> Any:
        carry, found, start, traces, first = state
        xs, ybar = cut(loop, stacked, at, length)
        after, before = run_steps(loop, fixed, carry, xs, length)
        ends = last if final else none
        within, apart = within_steps(loop, fixed, before, xs, ybar, ends)
        direct = [a + b for a, b in zip(found, within.weights, strict=True)]
        if not loop.active:
            return (after, direct, start, traces, first), within.xs
        rows = end_rows(loop, credit=True, slots=not final)
        along = along_units(loop, fixed, before, xs, apart, rows, within.carry)
        direct = step_gradients(loop, direct, apart, along)
        direct = trace_gradients(loop, direct, along.start[0], traces)
        start = start + _carried_back(loop, along.start[0], first)
        if not final:
            traces = next_traces(loop, apart, along, traces, 1)
            first = jnp.stack(
                [_carried_back(loop, row, first) for row in along.start[1:]]
            )
        return (after, direct, start, traces, first), within.xs

    state = (
        list(carry),
        [jnp.zeros_like(w) for w in fixed.weights],
        jnp.zeros((len(loop.units.slots),), loop.dtype),
        loop.zero_traces() if traces is None else traces,
        end_rows(loop, credit=False, slots=True),
    )
    (_, found, start, *_), moved = along_chunks(loop, chunk, state, step)
    return found, dict(zip(loop.active, loop.unflat(start), strict=True)), moved


def _carried_back(loop: UnitLoop, row: Any, first: Any) -> Any:
    """A row times the derivatives of a chunk's first states by the loop's first carry.

    `first[p, e]` is the derivative of slot p, of the unit of state e, by the first
    value of state e.
    """
    return loop.through_units(row, loop.units.state_units, first)


def _pull_reversed(
    loop: UnitLoop,
    fixed: Fixed,
    carry: Any,
    xs: Any,
    ybar: Any,
    last: Any,
    traces: Traces | None,
    chunk: int,
) -> tuple[list[Any], dict[int, Any], dict[int, Any]]:
    """The same, from the last step on."""
    none, stacked = [None] * len(last), (xs, ybar)
    count, rest = divided(loop, chunk)
    at = rest + chunk * jnp.arange(count)  # what remains comes first
    first_xs, first_ybar = cut(loop, stacked, 0, rest)
    after, begun = run_steps(loop, fixed, carry, first_xs, rest)

    def forward(carry: Any, at: Any) -> Any:
        xs = cut(loop, stacked[0], at, chunk)
        return run_steps(loop, fixed, carry, xs, chunk)[0], carry

    _, starts = scan(forward, after, at)

    def step(state: Any, before: Any, xs: Any, ybar: Any, last: Any) -> Any:
        found, rows = state
        within, apart = within_steps(loop, fixed, before, xs, ybar, last)
        along = along_units(loop, fixed, before, xs, apart, rows, within.carry)
        direct = [a + b for a, b in zip(found, within.weights, strict=True)]
        direct = step_gradients(loop, direct, apart, along)
        moved = {
            i: x + along.xs[i] if i in along.xs else x for i, x in within.xs.items()
        }
        return (direct, along.start), moved

    def chunked(state: Any, given: Any) -> Any:
        start, at, ends = given
        xs, ybar = cut(loop, stacked, at, chunk)
        _, before = run_steps(loop, fixed, start, xs, chunk)
        return step(state, before, xs, ybar, ends)

    state = (
        [jnp.zeros_like(w) for w in fixed.weights],
        end_rows(loop, credit=True, slots=False),
    )
    at_end = jnp.arange(count) == count - 1
    ends = [
        None if x is None else jnp.where(at_end.reshape(-1, *[1] * x.ndim), x[None], 0)
        for x in last
    ]
    state, moved = scan(chunked, state, (starts, at, ends), length=count, reverse=True)
    ended = none if count else last
    (found, rows), begun_moved = step(state, begun, first_xs, first_ybar, ended)
    if traces is not None:
        found = trace_gradients(loop, found, rows[0], traces)
    moved = {
        i: jnp.concatenate([begun_moved[i], x.reshape(-1, *x.shape[2:])])
        for i, x in moved.items()
    }
    return found, dict(zip(loop.active, loop.unflat(rows[0]), strict=True)), moved
