"""The loops of a program, run so that their derivatives are found forwards in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..._analysis._graph import walk
from ..._evaluate._interpreter import Runner, Scope
from ..._jaxpr import Op
from ..._structure import Structure
from .._loop_evaluation import LoopEvaluation
from .._readouts._readout_filters import ReadoutFilter
from .._readouts._readout_traces import carried_start
from .._readouts._readouts import LoopParts, only_readouts, parts_of
from .._steps._loop_values import fixed_of
from .._steps._nested_loops import NestedLoop, loops_with_states
from .._steps._step import reads
from .._steps._step_evaluation import Recurrence
from .._steps._step_taps import taps_of
from .._steps._weight_values import plain_scan
from .._units._unit_search import MixedUnitsError, find_units
from ._online_scan import online_scan
from ._unit_loop import UnitLoop


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


def find_loops(
    structure: Structure, *, own: bool, memoryless: bool = False
) -> tuple[Loop, ...]:
    """The loops whose carry depends on parameters, without those inside them.

    Args:
      structure: the structure of the loss function.
      own: whether a recurrent synapse passes signals back to the unit that it drives.
      memoryless: whether what drives carries that only recurrent synapses read, and
        nothing else, drives units too.

    Raises:
      MixedUnitsError: if units depend on each other other than by synapses.
    """
    every = list(loops_with_states(structure))
    late = [] if structure.spec.carry is not None else _late(structure, every)
    skipped = set(map(id, late))
    rest = [pair for pair in every if id(pair[0].op) not in skipped]
    return tuple(
        _loop(scans, structure.live, own, memoryless, outermost)
        for scans, outermost in rest
    )


def readout_loops(structure: Structure) -> list[Op]:
    """The loops of read-outs alone, after the loop of the units that they read.

    Where they start anew in each call they are reversed as they are, as read-outs in
    the loop of their units are: no trace is needed.
    """
    return _late(structure, list(loops_with_states(structure)))


def _late(structure: Structure, every: Sequence[tuple[NestedLoop, bool]]) -> list[Op]:
    """Those of `readout_loops`, among all loops with states."""
    found = [
        scans.op
        for scans, outermost in every
        if outermost and only_readouts(scans.step) and _is_last(structure, scans.op)
    ]
    # Without another loop they are the units, whose traces are as exact.
    return found if len(found) < len(every) else []


def _is_last(structure: Structure, loop: Op) -> bool:
    """Whether no synapse reads what a loop at the top of the program computes."""
    synapses, reached = {id(m.op) for m in structure.live_ops}, set(loop.outputs)
    for op in structure.flow.program.body.ops:
        if reached.isdisjoint(reads(op)):
            continue
        inner = (site.op for body in op.bodies for site in walk(body))
        if id(op) in synapses or any(id(each) in synapses for each in inner):
            return False
        reached.update(op.outputs)
    return True


def _loop(
    scans: NestedLoop, live: set[int], own: bool, memoryless: bool, outermost: bool
) -> Loop:
    parts = parts_of(scans.indexed.step)
    used = [scans.op.outputs[scans.carries[i]] in live for i in parts.unit_carries]
    try:
        units = find_units(parts.units, own=own, used=used, memoryless=memoryless)
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
class OnlineLoops(LoopEvaluation):
    """Loops whose derivatives are found by eligibility traces.

    Attributes:
      chunk: the number of steps that are differentiated at once.
      continues: for each loop, whether its traces go on from call to call.
      filters: for each loop, the read-outs that continue from call to call.
    """

    has_sites: ClassVar[bool] = True

    chunk: int
    continues: Sequence[bool] = ()
    filters: Sequence[Sequence[ReadoutFilter]] = ()

    def run(
        self, runner: Runner, i: int, scope: Scope, inject: Mapping[str, Any]
    ) -> Sequence[Any]:
        """Run one of the loops: its units, then its read-outs."""
        loop: Loop = self.loops[i]
        parts, scans = loop.parts, loop.scans
        injected = scans.flat(runner.injected(scans.op, inject))
        sites, tap = runner.plan.sites, runner.tap
        taps = taps_of(parts.units, sites, tap, injected)
        units = replace(loop.units, taps=taps) if taps.sites else loop.units
        starts, xs = scans.given(scope)
        inner = scans.fixed(runner, scope)
        picked, at_picks = scans.indexed.values(
            runner,
            inner,
            starts,
            xs,
            injected,
            length=scans.length,
            reverse=scans.reverse,
        )
        xs += picked
        fixed = fixed_of(runner, parts.units, inner)
        given, filters = None, ()
        if self.traces is not None and self.continues[i]:
            given, filters = self.traces[i], self.filters[i]
        last, ys, traces = self.scan(
            units,
            fixed,
            [starts[k] for k in parts.unit_carries],
            [*xs, *(injected[name] for name in taps.injected)],
            given,
            filters,
        )
        if traces is not None:
            self.after[i] = traces
        ends = dict(zip(parts.unit_carries, last, strict=True))
        count = len(parts.units.ys)
        found = at_picks | dict(zip(taps.names, ys[count:], strict=True))
        crossing, ys = ys[len(parts.unit_ys) : count], ys[: len(parts.unit_ys)]
        outs = dict(zip(parts.unit_ys, ys, strict=True))
        if parts.readouts is not None:
            first = dict(enumerate(starts))
            if given is not None and filters:
                held = {each.carry: starts[each.carry] for each in filters}
                first |= carried_start(units, filters, fixed, given.filters, held)
            taps = taps_of(parts.readouts, sites, tap, injected)
            last, ys = plain_scan(
                parts.readouts,
                fixed_of(runner, parts.readouts, inner),
                [first[k] for k in parts.readout_carries],
                [*xs, *crossing, *(injected[name] for name in taps.injected)],
                scans.length,
                reverse=scans.reverse,
                unroll=scans.unroll,
                taps=taps,
            )
            count = len(parts.readout_ys)
            ends.update(zip(parts.readout_carries, last, strict=True))
            outs.update(zip(parts.readout_ys, ys[:count], strict=True))
            found.update(zip(taps.names, ys[count:], strict=True))
        scope.sites.update(scans.unflat(found))
        carry = [ends[k] for k in range(len(starts))]
        return scans.returned(scope, carry, [outs[j] for j in range(len(outs))])

    def scan(
        self,
        units: UnitLoop,
        fixed: Any,
        start: Any,
        xs: Any,
        traces: Any,
        filters: Any,
    ) -> tuple[list[Any], list[Any], Any]:
        """The units of a loop: the last carry, the outputs, and the traces after it."""
        return online_scan(units, fixed, start, xs, traces, self.chunk, filters)
