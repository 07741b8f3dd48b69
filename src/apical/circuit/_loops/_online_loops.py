"""The loops of a program, run so that their derivatives are found forwards in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from .._evaluate._control_flow import enter_scan
from .._evaluate._interpreter import Runner, Scope
from .._jaxpr import Op
from .._structure import Structure
from ._loop_values import fixed_of
from ._nested_loops import NestedLoop, loops_with_states
from ._online_scan import online_scan
from ._readout_filters import ReadoutFilter
from ._readout_traces import carried_start
from ._readouts import LoopParts, parts_of
from ._step import Step
from ._step_evaluation import Recurrence, evaluate
from ._unit_loop import Traces, UnitLoop
from ._unit_search import MixedUnitsError, find_units


@dataclass(frozen=True, eq=False)
class Loop:
    """A loop with units.

    Attributes:
      scans: the scan, or scans in each other.
      parts: its units and its read-outs.
      units: the loop of its units.
      outermost: whether no other loop or branch is around it.
    """

    scans: NestedLoop
    parts: LoopParts
    units: UnitLoop
    outermost: bool


def find_loops(structure: Structure, *, own: bool) -> tuple[Loop, ...]:
    """The loops whose carry depends on parameters, without those inside them.

    Args:
      structure: the structure of the loss function.
      own: whether a recurrent synapse passes signals back to the unit that it drives.

    Raises:
      MixedUnitsError: if units depend on each other other than by synapses.
    """
    return tuple(
        _loop(scans, structure.live, own, outermost)
        for scans, outermost in loops_with_states(structure)
    )


def _loop(scans: NestedLoop, live: set[int], own: bool, outermost: bool) -> Loop:
    parts = parts_of(scans.step)
    used = [scans.op.outputs[scans.carries[i]] in live for i in parts.unit_carries]
    try:
        units = find_units(parts.units, own=own, used=used)
    except MixedUnitsError as error:
        raise MixedUnitsError(f"The loop at {scans.op.where}: {error}") from error
    loop = UnitLoop(
        step=parts.units,
        recurrence=Recurrence(units, own),
        length=scans.length,
        reverse=scans.reverse,
        unroll=scans.unroll,
    )
    return Loop(scans, parts, loop, outermost)


@dataclass(eq=False)
class OnlineLoops:
    """One evaluation of the loops of a program.

    Attributes:
      loops: the loops.
      chunk: the number of steps that are differentiated at once.
      traces: the traces at the start of each loop; None for zeros, none are returned.
      filters: for each loop, the read-outs that continue from call to call.
      after: the traces at the end of each loop, once it has run.
    """

    loops: Sequence[Loop]
    chunk: int
    traces: Sequence[Traces] | None = None
    filters: Sequence[Sequence[ReadoutFilter]] = ()
    after: dict[int, Traces] = field(default_factory=dict)

    @property
    def ids(self) -> frozenset[int]:
        """The scans, by identity."""
        return frozenset(id(loop.scans.op) for loop in self.loops)

    @property
    def traces_after(self) -> list[Traces] | None:
        """What each loop ended with; None if it was given nothing to start from."""
        if self.traces is None:
            return None
        return [self.after[i] for i in range(len(self.loops))]

    def enter(self, runner: Runner, op: Op, scope: Scope, inject: Any) -> Sequence[Any]:
        """Run a scan; one of the loops with its derivative found forwards in time."""
        for i, loop in enumerate(self.loops):
            if loop.scans.op is op:
                return self._run(runner, i, loop, scope)
        return enter_scan(runner, op, scope, inject)

    def _run(self, runner: Runner, i: int, loop: Loop, scope: Scope) -> Sequence[Any]:
        parts, scans = loop.parts, loop.scans
        starts, xs = scans.given(scope)
        inner = scans.fixed(runner, scope)
        fixed = fixed_of(runner, parts.units, inner)
        given = None if self.traces is None else self.traces[i]
        filters = self.filters[i] if self.filters else ()
        last, ys, traces = online_scan(
            loop.units,
            fixed,
            [starts[k] for k in parts.unit_carries],
            xs,
            given,
            self.chunk,
            filters,
        )
        if traces is not None:
            self.after[i] = traces
        ends = dict(zip(parts.unit_carries, last, strict=True))
        count = len(parts.unit_ys)
        outs = dict(zip(parts.unit_ys, ys[:count], strict=True))
        if parts.readouts is not None:
            first = dict(enumerate(starts))
            if given is not None and filters:
                held = {each.carry: starts[each.carry] for each in filters}
                first |= carried_start(loop.units, filters, fixed, given.filters, held)
            begun = [first[k] for k in parts.readout_carries]
            inputs = [*xs, *ys[count:]]
            last, ys = _plain(runner, scans, parts.readouts, inner, begun, inputs)
            ends.update(zip(parts.readout_carries, last, strict=True))
            outs.update(zip(parts.readout_ys, ys, strict=True))
        carry = [ends[k] for k in range(len(starts))]
        return scans.returned(scope, carry, [outs[j] for j in range(len(outs))])


def _plain(
    runner: Runner, scans: NestedLoop, step: Step, inner: Scope, carry: Any, xs: Any
) -> tuple[Any, Any]:
    """The read-outs, whose derivative is found as usual."""
    fixed = fixed_of(runner, step, inner)
    values: Mapping[int, Any] = {
        **fixed.others,
        **dict(zip(step.weights, fixed.weights, strict=True)),
    }

    def body(carry: Any, x: Any) -> Any:
        found = evaluate(step, values, fixed.copies, carry, x)
        return found.carry, found.ys

    return jax.lax.scan(
        body,
        carry,
        xs,
        length=scans.length,
        reverse=scans.reverse,
        unroll=scans.unroll,
    )
