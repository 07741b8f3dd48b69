"""Inputs that a step picks from an array by a counter, `x[t]`, as inputs of the loop.

    (t, h), x[t]  ->  (t + 1, h')        is        h, x_t  ->  h'

for an array x that depends on parameters and is the same at every step. What is picked
does not depend on the units, so it is picked before the loop, for all steps at once. An
input of the loop drives units; for a pick within the step all entries of x would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from ..._analysis._dataflow import ACTIVITY
from ..._evaluate._interpreter import Runner, Scope
from ..._jaxpr import Atom, Literal, Op
from ._loop_values import fixed_of
from ._step import Step, reads, resolved
from ._weight_values import plain_scan

_PICKING = frozenset({"dynamic_slice", "gather"})


@dataclass(frozen=True, eq=False)
class IndexedInputs:
    """A step whose picked values are inputs.

    Attributes:
      step: the step; after its own inputs it takes what is picked.
      picks: the operations that pick.
      indices: the part of the step that computes where, in the order of `places`.
      places: the variables of what it computes.
      carries: the positions of its carries among those of the step.
    """

    step: Step
    picks: tuple[Op, ...]
    indices: Step
    places: tuple[int, ...]
    carries: tuple[int, ...]

    @property
    def source_of(self) -> dict[int, Atom]:
        """The array that each picked value is taken from."""
        return {op.outputs[0]: op.inputs[0] for op in self.picks}

    def names(self, sites: Mapping[int, Sequence[str]]) -> dict[int, list[str]]:
        """The sites at each picked value.

        Args:
          sites: the names of the sites of each variable of the program.
        """
        found: dict[int, list[str]] = {op.outputs[0]: [] for op in self.picks}
        for number, names in sites.items():
            at = resolved(number, self.step.same)
            if not isinstance(at, Literal) and at in found:
                found[at].extend(names)
        return found

    def values(
        self,
        runner: Runner,
        inner: Scope,
        starts: Sequence[Any],
        xs: Sequence[Any],
        injected: Mapping[str, Any],
        *,
        length: int,
        reverse: bool,
    ) -> tuple[list[Any], dict[str, Any]]:
        """What is picked at every step, and the values at its sites before the tap.

        Args:
          runner: the evaluation.
          inner: the values that are the same at every step.
          starts: the first carry of the loop.
          xs: its inputs, stacked.
          injected: the injected values, by name.
          length: the number of steps.
          reverse: whether they run from the last input to the first.
        """
        if not self.picks:
            return [], {}
        _, found = plain_scan(
            self.indices,
            fixed_of(runner, self.indices, inner),
            [starts[k] for k in self.carries],
            jax.lax.stop_gradient(list(xs)),
            length,
            reverse=reverse,
        )
        places = dict(zip(self.places, found, strict=True))
        names, sites = self.names(runner.plan.sites), dict[str, Any]()
        picked = []
        for op in self.picks:
            value = _pick(op, inner, places)
            for name in names[op.outputs[0]]:
                sites[name] = value
                if runner.tap is not None:
                    value = runner.tap(name, value, injected.get(name))
            picked.append(value)
        return picked, sites


def indexed_inputs(step: Step) -> IndexedInputs:
    """A step, with the values that it picks by a counter as inputs."""
    picks, carries, places = [], set[int](), dict[int, None]()
    for op in step.ops:
        needed = _carries_before(step, op) if _is_pick(step, op) else None
        if needed is not None and needed.isdisjoint(step.active):
            picks.append(op)
            carries |= needed
            places.update((a, None) for a in _moving(step, op))
    kept = sorted(carries)
    given = [op.outputs[0] for op in picks]
    every = range(len(step.carries))
    return IndexedInputs(
        step=step.part(every, step.ys, given) if picks else step,
        picks=tuple(picks),
        indices=step.part(kept, list(places)),
        places=tuple(places),
        carries=tuple(kept),
    )


def _is_pick(step: Step, op: Op) -> bool:
    """Whether an operation picks from an activity that is the same at every step."""
    source = op.inputs[0] if op.inputs else None
    return (
        op.name in _PICKING
        and isinstance(source, int)
        and source not in step.changing
        and step.flow.kind[source] == ACTIVITY
        and any(_moving(step, op))
    )


def _moving(step: Step, op: Op) -> Iterator[int]:
    """The places of a pick that are others at other steps."""
    for atom in op.inputs[1:]:
        if not isinstance(atom, Literal) and atom in step.changing:
            yield atom


def _carries_before(step: Step, op: Op) -> set[int]:
    """The positions of the carries that the places of a pick are computed from."""
    at = {number: i for i, number in enumerate(step.carries)}
    maker = {n: each for each in step.ops for n in each.outputs}
    found, seen, stack = set[int](), set[int](), list[Atom](op.inputs[1:])
    while stack:
        atom = stack.pop()
        if isinstance(atom, Literal) or atom in seen:
            continue
        seen.add(atom)
        if atom in at:
            found.add(at[atom])
            stack.append(step.carried[at[atom]])
        elif atom in maker:
            stack += reads(maker[atom])
    return found


def _pick(op: Op, inner: Scope, places: Mapping[int, Any]) -> Any:
    """What is picked at all steps."""
    moving = {
        j: places[a]
        for j, a in enumerate(op.inputs)
        if isinstance(a, int) and a in places
    }
    fixed = {j: inner.read(a) for j, a in enumerate(op.inputs) if j not in moving}

    def at_step(moving: Mapping[int, Any]) -> Any:
        values = {**fixed, **moving}
        return op(*(values[j] for j in range(len(values))))[0]

    return jax.vmap(at_step)(moving)
