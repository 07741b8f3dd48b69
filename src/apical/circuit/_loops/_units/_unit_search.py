"""The search for the units of a loop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._jaxpr import Atom, Literal, Op, is_concrete
from .._steps._step import Step, reads
from ._entry_groups import (
    NONE,
    SEVERAL,
    Groups,
    either,
    entry_groups,
    of_operand,
    of_result,
)
from ._units import Units


class MixedUnitsError(ValueError):
    """A loop whose units depend on each other within a step, other than by synapses."""


def find_units(
    step: Step, *, own: bool, used: Sequence[bool], memoryless: bool = False
) -> Units:
    """The units of a step.

    Args:
      step: the step.
      own: whether a recurrent synapse passes signals back to the unit that it drives.
        If not, carries that only recurrent synapses read are states of no unit.
      used: whether the last value of each carry is read after the loop.
      memoryless: whether what drives such carries alone drives units: all of them are
        then states.

    Raises:
      MixedUnitsError: if units depend on each other other than by synapses.
    """
    every = units = _Finder(step, step.active).units()
    while True:
        alive = units.active if own else tuple(_alive(units, used))
        if alive == units.active:
            break
        units = _Finder(step, alive).units()
    return every if memoryless and _drives(units) != _drives(every) else units


def _drives(units: Units) -> set[int]:
    """The outputs of synapses and the uses of weights that drive units."""
    step = units.step
    found = {s.output for s in step.synapses}
    found |= {n for op, _ in step.uses for n in op.outputs}
    return {n for n in found if units.driven(n) is not None}


def joined_units(step: Step) -> dict[int, np.ndarray]:
    """A number for the unit of each entry of the variables of units.

    Units that depend on each other within a step, other than by synapses, are one.
    """
    return _Finder(step, step.active)._components()[0]


class _Finder:
    """The search for the units of a step."""

    def __init__(self, step: Step, active: tuple[int, ...]) -> None:
        self.step, self.active = step, active
        self.known = _known(step)
        self._groups: dict[tuple[int, int], list[Groups]] = {}
        carries = {step.carries[i] for i in active}
        self.dependent = self._after(carries)
        sources = {s.output for s in step.synapses}
        sources |= {n for op, _ in step.uses for n in op.outputs if step.inexact(n)}
        sources |= {n for n in step.xs if step.learns(n)}
        self.targets = {
            a for i in active if not isinstance(a := step.carried[i], Literal)
        }
        self.live = self._before(self.targets) & (self.dependent | self._after(sources))

    def units(self) -> Units:
        """The units, and what each value belongs to, drives and comes from."""
        labels, mixing = self._components()
        of = self._driven(labels)
        states = [labels[self.step.carries[i]].ravel() for i in self.active]
        found, sizes = np.unique(
            np.concatenate(states) if states else np.zeros(0, int), return_counts=True
        )
        if mixing is not None:
            op, count = mixing
            raise MixedUnitsError(
                f"{count} states of the loop depend on each other within a step, "
                f"through `{op.name}` at {op.where}, which is no synapse."
            )
        for synapse in self.step.synapses:
            driven = of.get(synapse.output)
            if driven is not None and (driven == SEVERAL).any():
                raise MixedUnitsError(
                    f"An output of the synapse at {synapse.op.where} drives several "
                    "units of the loop."
                )
        rename = np.full(
            max((int(x.max(initial=0)) for x in of.values()), default=0) + 1, NONE
        )
        rename[found] = np.arange(len(found))
        renamed = {
            n: np.where(x >= 0, rename[np.maximum(x, 0)], x) for n, x in of.items()
        }
        origin = self._origin({n: renamed[n] for n in self._carries()})
        return Units(self.step, self.active, renamed, origin, sizes)

    def _carries(self) -> list[int]:
        return [self.step.carries[i] for i in self.active]

    # ---- Paths.

    def _passing(self) -> Iterator[Op]:
        for op in self.step.ops:
            if id(op) not in self.step.synapse_at and op.name != "stop_gradient":
                yield op

    def _after(self, starts: set[int]) -> set[int]:
        """What depends on some variables without a synapse in between."""
        found = set(starts)
        for op in self._passing():
            if not found.isdisjoint(reads(op)):
                found.update(n for n in op.outputs if self.step.inexact(n))
        return found

    def _before(self, ends: set[int]) -> set[int]:
        """What some variables depend on without a synapse in between."""
        found = set(ends)
        for op in reversed(list(self._passing())):
            if found.intersection(op.outputs):
                found.update(reads(op))
        return found

    def _links(self, op: Op, within: set[int]) -> Iterator[tuple[int, int, Groups]]:
        """Each operand and result among some values, and how their entries depend."""
        for i, a in enumerate(op.inputs):
            if isinstance(a, Literal) or a not in within:
                continue
            for n, groups in zip(op.outputs, self._groups_of(op, i), strict=True):
                if n in within:
                    yield a, n, groups

    def _groups_of(self, op: Op, i: int) -> list[Groups]:
        key = id(op), i
        if key not in self._groups:
            shape = self.step.shape
            self._groups[key] = entry_groups(
                op,
                i,
                [shape(a) for a in op.inputs],
                [shape(n) for n in op.outputs],
                lambda j: self.known(op.inputs[j]),
            )
        return self._groups[key]

    # ---- Components.

    def _components(self) -> tuple[dict[int, np.ndarray], tuple[Op, int] | None]:
        """The component of each entry; the first operation that mixes units."""
        within = (self.live & self.dependent) | self.targets | set(self._carries())
        start, total = {}, 0
        for n in sorted(within):
            start[n] = total
            total += self._size(n)
        edges: list[np.ndarray] = []
        mixed: list[tuple[Op, np.ndarray]] = []

        def ids(n: int) -> np.ndarray:
            return start[n] + np.arange(self._size(n))

        hubs = total
        for op in self._passing():
            for a, n, groups in self._links(op, within):
                if groups.operand is None:
                    there = groups.result >= 0
                    pairs = np.stack([ids(a)[groups.result[there]], ids(n)[there]])
                else:
                    ends = np.concatenate([groups.operand, groups.result])
                    whole = np.concatenate([ids(a), ids(n)])[ends >= 0]
                    pairs = np.stack([whole, hubs + ends[ends >= 0]])
                    hubs += int(ends.max(initial=0)) + 1
                if groups.mixes:
                    mixed.append((op, pairs))
                else:
                    edges.append(pairs)
        for i in self.active:
            after = self.step.carried[i]
            if not isinstance(after, Literal) and after in within:
                edges.append(np.stack([ids(self.step.carries[i]), ids(after)]))
        labels, mixing = _connected(edges, hubs), None
        if mixed:
            states = np.concatenate([ids(n) for n in self._carries()])
            mixing = _first_mixing(labels, edges, mixed, hubs, states)
            labels = _connected([*edges, *(pairs for _, pairs in mixed)], hubs)
        return {n: labels[ids(n)].reshape(self.step.shape(n)) for n in within}, mixing

    def _size(self, n: int) -> int:
        return math.prod(self.step.shape(n))

    def _driven(self, labels: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """The component that each entry belongs to or, else, drives."""
        found = dict(labels)
        for op in reversed(list(self._passing())):
            for a, n, groups in self._links(op, self.live | set(self._carries())):
                if a in labels or n not in found:
                    continue
                shape = self.step.shape(a)
                one = of_operand(groups, found[n].ravel(), math.prod(shape))
                before = found.get(a, np.full(shape, NONE))
                found[a] = either(before, one.reshape(shape))
        return found

    def _origin(self, carries: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """The unit that each entry comes from."""
        found = dict(carries)
        for op in self._passing():
            for a, n, groups in self._links(op, self.dependent):
                if a not in found:
                    continue
                one = of_result(groups, found[a].ravel())
                before = found.get(n, np.full(self.step.shape(n), NONE))
                found[n] = either(before, one.reshape(self.step.shape(n)))
        return found


def _connected(edges: Sequence[np.ndarray], count: int) -> np.ndarray:
    # SciPy is a dependency of JAX; it is imported here, where it is first needed.
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate(edges, axis=1) if edges else np.zeros((2, 0), int)
    ones = np.ones(ends.shape[1], bool)
    graph = coo_matrix((ones, (ends[0], ends[1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _first_mixing(
    labels: np.ndarray,
    edges: list[np.ndarray],
    mixed: Sequence[tuple[Op, np.ndarray]],
    count: int,
    states: np.ndarray,
) -> tuple[Op, int] | None:
    """The first operation that joins states of different components."""
    before = np.unique(labels[states], return_counts=True)[1].max(initial=0)
    for i, (op, _) in enumerate(mixed):
        joined = _connected([*edges, *(pairs for _, pairs in mixed[: i + 1])], count)
        sizes = np.unique(joined[states], return_counts=True)[1]
        if sizes.max(initial=0) > before:
            return op, int(sizes.max())
    return None


def _known(step: Step) -> Any:
    """A function from an atom to its value, if that is known now."""
    values: dict[int, Any] = {
        n: c for n, c in step.flow.program.constants.items() if is_concrete(c)
    }
    for op in step.hoisted:
        inputs = [
            a.value if isinstance(a, Literal) else values.get(a) for a in op.inputs
        ]
        if not op.bodies and all(x is not None for x in inputs) and inputs:
            with jax.ensure_compile_time_eval():
                values.update(zip(op.outputs, op(*inputs), strict=True))

    def known(atom: Atom) -> np.ndarray | None:
        value = atom.value if isinstance(atom, Literal) else values.get(atom)
        if value is None or not isinstance(value, (np.ndarray, np.generic, jax.Array)):
            return None
        if jnp.issubdtype(value.dtype, jax.dtypes.extended):
            return None
        return np.asarray(value)

    return known


def _alive(units: Units, used: Sequence[bool]) -> Iterator[int]:
    """The active carries whose old value is read other than by recurrent synapses."""
    step = units.step
    ends = {a for a in step.ys if not isinstance(a, Literal)}
    ends |= {
        a
        for a, is_used in zip(step.carried, used, strict=True)
        if is_used and not isinstance(a, Literal)
    }

    def reached(i: int) -> tuple[set[int], bool]:
        found, synapse = {step.carries[i]}, False
        for op in step.ops:
            if op.name == "stop_gradient" or found.isdisjoint(reads(op)):
                continue
            at = step.synapse_at.get(id(op))
            if at is None:
                found.update(n for n in op.outputs if step.inexact(n))
            else:
                synapse |= not units.groups_of(i) <= units.recurrent[at]
        return found, synapse

    reach = {i: reached(i) for i in units.active}
    alive = {i for i, (found, synapse) in reach.items() if synapse or found & ends}
    while True:
        more = {step.carried[i] for i in alive}
        grown = alive | {i for i, (found, _) in reach.items() if found & more}
        if grown == alive:
            break
        alive = grown
    return (i for i in units.active if i in alive)
