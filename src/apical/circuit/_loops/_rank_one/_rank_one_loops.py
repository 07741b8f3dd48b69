"""The loops of a program, with derivatives estimated forwards in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from ..._analysis._dataflow import PARAMETER
from ..._evaluate._interpreter import Runner, Scope
from ..._jaxpr import Literal
from ..._structure import Structure
from .._loop_evaluation import LoopEvaluation
from .._steps._loop_values import fixed_of
from .._steps._nested_loops import NestedLoop, loops_with_states
from ._rank_one_scan import PlainLoop, rank_one_scan


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
class RankOneLoops(LoopEvaluation):
    """Loops whose derivatives are estimated by a product of two vectors.

    Attributes:
      key: a random key.
    """

    key: jax.Array

    def run(
        self, runner: Runner, i: int, scope: Scope, inject: Mapping[str, Any]
    ) -> Sequence[Any]:
        """Run one of the loops."""
        del inject
        loop: StateLoop = self.loops[i]
        scans, step = loop.scans, loop.plain.step
        starts, xs = scans.given(scope)
        last, ys, after = rank_one_scan(
            loop.plain,
            fixed_of(runner, step, scans.fixed(runner, scope)),
            starts,
            xs,
            jax.random.fold_in(self.key, i),
            None if self.traces is None else self.traces[i],
        )
        if after is not None:
            self.after[i] = after
        return scans.returned(scope, last, ys)
