"""A scan whose derivative is found forwards in time, by traces with two factors.

Where an input of the loop depends on parameters and drives units (a layer applied to
all steps before the loop), the filter of that layer's inputs is applied to the credit
of the input instead, from the last step to the first: the gradient is that of the same
layer in the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..._evaluate._manual_axes import scan
from .._steps._weight_values import Fixed
from .._traces._chunked_scan import along_chunks, chunked_scan, cut
from .._traces._unit_credit import end_rows
from .._traces._unit_loop import UnitLoop
from ._factor_credit import (
    UnitPaths,
    at_slots,
    drive_credit,
    drive_steps,
    factor_gradients,
    run_apart,
    unit_paths,
)
from ._factor_traces import (
    Decays,
    Drives,
    FactorTraces,
    factor_zeros,
    filtered_derivatives,
    filtered_inputs,
)


def factor_scan(
    loop: UnitLoop,
    fixed: Fixed,
    carry: Sequence[Any],
    xs: Sequence[Any],
    traces: FactorTraces | None,
    decays: Decays,
    chunk: int,
) -> tuple[list[Any], list[Any], FactorTraces | None]:
    """Run a loop of units.

    Args:
      loop: the loop.
      fixed: what is the same at every step.
      carry: the first carry.
      xs: the inputs, stacked.
      traces: the traces that the carry comes with; None at the start of a sequence.
      decays: the constants of the filters.
      chunk: the number of steps that are differentiated at once.

    Returns:
      The last carry, the outputs, and the traces after it if traces were given.
    """
    chunk = min(chunk, loop.length)

    def pull(given: Any, ys: Any, last: Any) -> Any:
        fixed, carry, xs, traces, decays = given
        return _pull(loop, fixed, carry, xs, ys, last, traces, decays, chunk)

    def after(fixed: Any, carry: Any, xs: Any, traces: Any, decays: Any) -> Any:
        return _traces_after(loop, fixed, carry, xs, traces, decays, chunk)

    return chunked_scan(loop, fixed, carry, xs, traces, decays, pull=pull, after=after)


def _traces_after(
    loop: UnitLoop,
    fixed: Fixed,
    carry: Any,
    given: Any,
    traces: FactorTraces,
    decays: Decays,
    chunk: int,
) -> FactorTraces:
    """The traces after the last step."""

    def step(state: Any, start: Any, length: int, final: bool) -> Any:
        del final
        (carry, traces), xs = state, cut(loop, given, start, length)
        last, before, apart = run_apart(loop, fixed, carry, xs, length)
        paths = unit_paths(loop, fixed, before, xs, apart)
        drives = drive_steps(loop, paths, None)
        held, weight, _ = filtered_derivatives(traces, drives, decays.derivative)
        read = [apart.inputs[i] for i in loop.traced]
        inputs, _ = filtered_inputs(traces.inputs, read, decays.input)
        return (last, FactorTraces(inputs, held, weight)), None

    return along_chunks(loop, chunk, (carry, traces), step)[0][1]


def _pull(
    loop: UnitLoop,
    fixed: Fixed,
    carry: Any,
    xs: Any,
    ybar: Any,
    last: Any,
    traces: FactorTraces | None,
    decays: Decays,
    chunk: int,
) -> tuple[list[Any], dict[int, Any], dict[int, Any]]:
    """The cotangents of weights, first carry and inputs."""
    none, stacked = [None] * len(last), (xs, ybar)

    def step(state: Any, at: Any, length: int, final: bool) -> Any:
        carry, found, start, traces, first = state
        xs, ybar = cut(loop, stacked, at, length)
        after, before, apart = run_apart(loop, fixed, carry, xs, length)
        ends = last if final else none
        credit = drive_credit(loop, fixed, before, xs, apart, ybar, ends)
        found = [a + b for a, b in zip(found, credit.weights, strict=True)]
        if not loop.active:
            return (after, found, start, traces, first), credit.xs
        paths = unit_paths(loop, fixed, before, xs, apart)
        drives = drive_steps(loop, paths, credit)
        held, weight, meets = filtered_derivatives(traces, drives, decays.derivative)
        read = [apart.inputs[i] for i in loop.traced]
        inputs, filtered = filtered_inputs(traces.inputs, read, decays.input)
        found = factor_gradients(loop, found, meets, filtered)
        rows = jax.vmap(loop.flat)(credit.carry)
        first, back = _carried_back(loop, first, paths, rows)
        moved = credit.xs | Drives(loop).grouped(meets)[2]
        traces = FactorTraces(inputs, held, weight)
        return (after, found, start + back, traces, first), moved

    state = (
        list(carry),
        [jnp.zeros_like(w) for w in fixed.weights],
        jnp.zeros((len(loop.units.slots),), loop.dtype),
        factor_zeros(loop) if traces is None else traces,
        end_rows(loop, credit=False, slots=True),
    )
    (_, found, start, *_), moved = along_chunks(loop, chunk, state, step)
    for i in loop.driving_inputs:
        moved[i] = _filtered_back(moved[i], decays.input)
    return found, dict(zip(loop.active, loop.unflat(start), strict=True)), moved


def _carried_back(
    loop: UnitLoop, first: jax.Array, paths: UnitPaths, rows: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The credit of the loop's first carry from the steps of a chunk, along units.

    `first[p, e]` is the derivative of slot p, of the unit of state e, by the first
    value of state e, before the chunk; it is returned for what follows the chunk.
    """
    units = loop.units.state_units

    def step(first: Any, given: Any) -> Any:
        through, row = given
        slots = range(len(first))
        back = sum(row[q] * first[q] for q in slots)
        return sum(through[:, q] * first[q] for q in slots), back

    given = at_slots(loop, paths.through, units), at_slots(loop, rows, units)
    first, back = scan(step, first, given)
    return first, jnp.sum(back, 0)


def _filtered_back(credit: jax.Array, decay: Any) -> jax.Array:
    """The sum over later steps s of decay^(s - t) times the credit of step s."""

    def step(later: Any, here: Any) -> Any:
        found = (here + decay * later).astype(here.dtype)
        return found, found

    return scan(step, jnp.zeros_like(credit[0]), credit, reverse=True)[1]
