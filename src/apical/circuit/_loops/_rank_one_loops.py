"""The loops of a program, with derivatives estimated forwards in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from .._analysis._dataflow import PARAMETER
from .._evaluate._control_flow import enter_scan
from .._evaluate._interpreter import Runner, Scope
from .._jaxpr import Literal, Op
from .._structure import Structure
from ._loop_values import fixed_of
from ._nested_loops import NestedLoop, loops_with_states
from ._rank_one_scan import PlainLoop, RankOne, rank_one_scan


@dataclass(frozen=True, eq=False)
class StateLoop:
    """A loop whose carry depends on parameters.

    Attributes:
      scans: the scan, or scans in each other.
      plain: the loop as one step.
      outermost: whether no other loop or branch is around it.
    """

    scans: NestedLoop
    plain: PlainLoop
    outermost: bool


def find_state_loops(structure: Structure) -> tuple[StateLoop, ...]:
    """The loops whose carry depends on parameters, without those inside them."""
    return tuple(
        StateLoop(scans, _plain(structure, scans), outermost)
        for scans, outermost in loops_with_states(structure)
    )


def _plain(structure: Structure, scans: NestedLoop) -> PlainLoop:
    kind, starts = structure.flow.kind, map(scans.start, range(len(scans.carries)))
    learned = any(not isinstance(a, Literal) and kind[a] & PARAMETER for a in starts)
    return PlainLoop(
        scans.step, scans.length, scans.reverse, scans.unroll, bool(learned)
    )


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
        return frozenset(id(loop.scans.op) for loop in self.loops)

    @property
    def traces_after(self) -> list[RankOne] | None:
        """What each loop ended with; None if it was given nothing to start from."""
        if self.estimates is None:
            return None
        return [self.after[i] for i in range(len(self.loops))]

    def enter(self, runner: Runner, op: Op, scope: Scope, inject: Any) -> Sequence[Any]:
        """Run a scan; one of the loops with its derivative estimated forwards."""
        for i, loop in enumerate(self.loops):
            if loop.scans.op is op:
                return self._run(runner, i, loop, scope)
        return enter_scan(runner, op, scope, inject)

    def _run(
        self, runner: Runner, i: int, loop: StateLoop, scope: Scope
    ) -> Sequence[Any]:
        scans, step = loop.scans, loop.plain.step
        starts, xs = scans.given(scope)
        last, ys, after = rank_one_scan(
            loop.plain,
            fixed_of(runner, step, scans.fixed(runner, scope)),
            starts,
            xs,
            jax.random.fold_in(self.key, i),
            None if self.estimates is None else self.estimates[i],
        )
        if after is not None:
            self.after[i] = after
        return scans.returned(scope, last, ys)
