"""The loops of a program, run so that their derivatives are found forwards in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from .._evaluate._control_flow import enter_scan
from .._evaluate._interpreter import Runner, Scope
from .._jaxpr import Body, Op
from .._structure import Structure
from ._online_scan import online_scan
from ._readouts import LoopParts, parts_of
from ._step import Step, step_of
from ._step_evaluation import Recurrence, evaluate
from ._unit_credit import Fixed
from ._unit_loop import Traces, UnitLoop
from ._unit_search import MixedUnitsError, find_units


@dataclass(frozen=True, eq=False)
class Loop:
    """A loop with units.

    Attributes:
      op: the scan.
      parts: its units and its read-outs.
      units: the loop of its units.
      outermost: whether no other loop or branch is around it.
    """

    op: Op
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
    loops: list[Loop] = []
    flow, found, live = structure.flow, structure.weighted_ops, structure.live

    def visit(body: Body, outermost: bool) -> None:
        for op in body.ops:
            if op.loop is not None and live.intersection(op.outputs):
                step = step_of(flow, found, op)
                if step.active:
                    loops.append(_loop(op, step, live, own, outermost))
                    continue
            if op.enterable:
                for inner in op.bodies:
                    visit(inner, outermost=False)

    visit(flow.program.body, outermost=True)
    return tuple(loops)


def _loop(op: Op, step: Step, live: set[int], own: bool, outermost: bool) -> Loop:
    assert op.loop is not None
    parts = parts_of(step)
    used = [op.outputs[i] in live for i in parts.units.positions]
    try:
        units = find_units(parts.units, own=own, used=used)
    except MixedUnitsError as error:
        raise MixedUnitsError(f"The loop at {op.where}: {error}") from error
    loop = UnitLoop(
        step=parts.units,
        recurrence=Recurrence(units, own),
        length=op.loop.length,
        reverse=op.loop.reverse,
        unroll=op.loop.unroll,
    )
    return Loop(op, parts, loop, outermost)


@dataclass(eq=False)
class OnlineLoops:
    """One evaluation of the loops of a program.

    Attributes:
      loops: the loops.
      chunk: the number of steps that are differentiated at once.
      traces: the traces at the start of each loop; None for zeros, none are returned.
      after: the traces at the end of each loop, once it has run.
    """

    loops: Sequence[Loop]
    chunk: int
    traces: Sequence[Traces] | None = None
    after: dict[int, Traces] = field(default_factory=dict)

    @property
    def ids(self) -> frozenset[int]:
        """The scans, by identity."""
        return frozenset(id(loop.op) for loop in self.loops)

    def enter(self, runner: Runner, op: Op, scope: Scope, inject: Any) -> Sequence[Any]:
        """Run a scan; one of the loops with its derivative found forwards in time."""
        for i, loop in enumerate(self.loops):
            if loop.op is op:
                return self._run(runner, i, loop, scope)
        return enter_scan(runner, op, scope, inject)

    def _run(self, runner: Runner, i: int, loop: Loop, scope: Scope) -> Sequence[Any]:
        parts, op = loop.parts, loop.op
        assert op.loop is not None
        given = [scope.read(a) for a in op.inputs]
        starts = given[op.loop.consts : op.loop.consts + op.loop.carry]
        xs = given[op.loop.consts + op.loop.carry :]
        inner = _hoisted(runner, op, parts.whole, scope)

        def carry(step: Step) -> list[Any]:
            return [starts[p] for p in step.positions]

        units = parts.units
        last, ys, traces = online_scan(
            loop.units,
            _fixed(runner, units, inner),
            carry(units),
            xs,
            None if self.traces is None else self.traces[i],
            self.chunk,
        )
        if traces is not None:
            self.after[i] = traces
        ends = {p: x for p, x in zip(units.positions, last, strict=True)}
        count = len(parts.unit_ys)
        outs = dict(zip(parts.unit_ys, ys[:count], strict=True))
        if parts.readouts is not None:
            step = parts.readouts
            inputs = [*xs, *ys[count:]]
            last, ys = _plain(runner, op, step, inner, carry(step), inputs)
            ends.update(zip(step.positions, last, strict=True))
            outs.update(zip(parts.readout_ys, ys, strict=True))
        carries = [ends.get(p, start) for p, start in enumerate(starts)]
        return [*carries, *(outs[j] for j in range(len(outs)))]


def _hoisted(runner: Runner, op: Op, step: Step, scope: Scope) -> Scope:
    """The values, and second copies, of what is the same at every step."""
    (body,), inner = op.bodies, runner.child(scope)
    assert op.loop is not None
    moving = {op.loop.consts + p for p in step.positions}
    for k in range(op.loop.consts + op.loop.carry):
        if k not in moving:
            number, atom = body.inputs[k], op.inputs[k]
            inner.values[number] = scope.read(atom)
            copy = scope.feedback_value(atom)
            if copy is not None:
                inner.feedback_values[number] = copy
    for each in step.hoisted:
        original = step.original[id(each)]
        for a, b in zip(original.inputs, each.inputs, strict=True):
            if a is not b and isinstance(a, int):
                inner.values[a] = inner.read(b)
                copy = inner.feedback_value(b)
                if copy is not None:
                    inner.feedback_values[a] = copy
        outs = runner.op(original, inner, {})
        inner.values.update(zip(each.outputs, outs, strict=True))
    return inner


def _fixed(runner: Runner, step: Step, inner: Scope) -> Fixed:
    """What a step reads of them, and the weights of the backward path."""
    copies: list[Any] = []
    for synapse in step.synapses:
        copy = None
        if runner.backward is not None and synapse.number is not None:
            atom = synapse.op.inputs[synapse.weight]
            w = inner.read(atom)
            copy = runner.backward(synapse.number, w, inner.read_feedback(atom))
        copies.append(copy)
    others = {n: inner.values[n] for n in step.fixed if n not in step.weights}
    return Fixed([inner.values[n] for n in step.weights], others, copies)


def _plain(
    runner: Runner, op: Op, step: Step, inner: Scope, carry: Any, xs: Any
) -> tuple[Any, Any]:
    """The read-outs, whose derivative is found as usual."""
    fixed = _fixed(runner, step, inner)
    values: Mapping[int, Any] = {
        **fixed.others,
        **dict(zip(step.weights, fixed.weights, strict=True)),
    }
    assert op.loop is not None

    def body(carry: Any, x: Any) -> Any:
        found = evaluate(step, values, fixed.copies, carry, x)
        return found.carry, found.ys

    return jax.lax.scan(
        body,
        carry,
        xs,
        length=op.loop.length,
        reverse=op.loop.reverse,
        unroll=op.loop.unroll,
    )
