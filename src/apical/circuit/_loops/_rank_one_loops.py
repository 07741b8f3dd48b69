"""The loops of a program, with derivatives estimated forwards in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from .._analysis._dataflow import PARAMETER
from .._evaluate._control_flow import enter_scan
from .._evaluate._interpreter import Runner, Scope
from .._jaxpr import Body, Literal, Op
from .._structure import Structure
from ._loop_values import fixed_of, hoisted
from ._rank_one_scan import PlainLoop, RankOne, rank_one_scan
from ._step import step_of


@dataclass(frozen=True, eq=False)
class StateLoop:
    """A loop whose carry depends on parameters.

    Attributes:
      op: the scan.
      plain: the loop as one step.
      outermost: whether no other loop or branch is around it.
    """

    op: Op
    plain: PlainLoop
    outermost: bool


def find_state_loops(structure: Structure) -> tuple[StateLoop, ...]:
    """The loops whose carry depends on parameters, without those inside them."""
    flow, found, live = structure.flow, structure.weighted_ops, structure.live
    loops: list[StateLoop] = []

    def visit(body: Body, outermost: bool) -> None:
        for op in body.ops:
            if op.loop is not None and live.intersection(op.outputs):
                step = step_of(flow, found, op)
                if step.active:
                    starts = op.inputs[op.loop.consts :][: op.loop.carry]
                    learned = any(
                        not isinstance(a, Literal) and flow.kind[a] & PARAMETER
                        for a in starts
                    )
                    plain = PlainLoop(
                        step, op.loop.length, op.loop.reverse, op.loop.unroll, learned
                    )
                    loops.append(StateLoop(op, plain, outermost))
                    continue
            if op.enterable:
                for inner in op.bodies:
                    visit(inner, outermost=False)

    visit(structure.flow.program.body, outermost=True)
    return tuple(loops)


@dataclass(eq=False)
class RankOneLoops:
    """One evaluation of the loops of a program.

    Attributes:
      loops: the loops.
      key: a random key.
      estimates: the estimates at the start of each loop; None for zeros, none are
        returned.
      after: the estimates at the end of each loop, once it has run.
    """

    loops: Sequence[StateLoop]
    key: jax.Array
    estimates: Sequence[RankOne] | None = None
    after: dict[int, RankOne] = field(default_factory=dict)

    @property
    def ids(self) -> frozenset[int]:
        """The scans, by identity."""
        return frozenset(id(loop.op) for loop in self.loops)

    @property
    def traces_after(self) -> list[RankOne] | None:
        """What each loop ended with; None if it was given nothing to start from."""
        if self.estimates is None:
            return None
        return [self.after[i] for i in range(len(self.loops))]

    def enter(self, runner: Runner, op: Op, scope: Scope, inject: Any) -> Sequence[Any]:
        """Run a scan; one of the loops with its derivative estimated forwards."""
        for i, loop in enumerate(self.loops):
            if loop.op is op:
                return self._run(runner, i, loop, scope)
        return enter_scan(runner, op, scope, inject)

    def _run(
        self, runner: Runner, i: int, loop: StateLoop, scope: Scope
    ) -> Sequence[Any]:
        op, step = loop.op, loop.plain.step
        assert op.loop is not None
        given = [scope.read(a) for a in op.inputs]
        starts = given[op.loop.consts : op.loop.consts + op.loop.carry]
        last, ys, after = rank_one_scan(
            loop.plain,
            fixed_of(runner, step, hoisted(runner, op, step, scope)),
            [starts[p] for p in step.positions],
            given[op.loop.consts + op.loop.carry :],
            jax.random.fold_in(self.key, i),
            None if self.estimates is None else self.estimates[i],
        )
        if after is not None:
            self.after[i] = after
        ends = dict(zip(step.positions, last, strict=True))
        return [*(ends.get(p, start) for p, start in enumerate(starts)), *ys]
