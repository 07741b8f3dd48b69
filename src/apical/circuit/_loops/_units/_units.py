"""The units of a loop: the states that depend on each other when synapses are cut.

Every entry of every value on a path from a carry to a carry of the next step, without
crossing a synapse, is a vertex, and an edge joins entries where one depends on the
other. The connected components are the units. A LIF neuron is a unit of one state, an
LSTM cell is a unit of two. What depends on a unit's past depends on the unit's states
alone, so eligibility traces hold one number for each state of a unit and each weight
that drives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..._jaxpr import Literal
from .._steps._step import Step, reads
from ._entry_groups import NONE, SEVERAL


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a step, for a choice of its carries.

    Attributes:
      step: the step.
      active: the positions of the carries that are states of units.
      of: for each variable on a path to a carry of the next step: the unit that each of
        its entries belongs to, or drives.
      origin: for each variable that depends on a carry without a synapse in between:
        the unit that each entry comes from.
      sizes: the number of states of each unit.
    """

    step: Step
    active: tuple[int, ...]
    of: Mapping[int, np.ndarray]
    origin: Mapping[int, np.ndarray]
    sizes: np.ndarray

    @cached_property
    def state_units(self) -> np.ndarray:
        """The unit of each state: of each entry of the active carries."""
        parts = [self.of[self.step.carries[i]].ravel() for i in self.active]
        return np.concatenate(parts) if parts else np.zeros(0, int)

    @cached_property
    def slots(self) -> np.ndarray:
        """The position of each state within its unit."""
        units = self.state_units
        order = np.argsort(units, kind="stable")
        ordered = units[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        lengths = np.diff(np.r_[starts, len(ordered)])
        slots = np.empty(len(units), int)
        slots[order] = np.arange(len(units)) - np.repeat(starts, lengths)
        return slots

    @property
    def states(self) -> int:
        """The largest number of states of a unit."""
        return int(self.sizes.max(initial=0))

    @cached_property
    def table(self) -> np.ndarray:
        """The state at each slot of each unit; the number of states if there is none.

        The last row stands for no unit.
        """
        missing = len(self.state_units)
        table = np.full((len(self.sizes) + 1, max(self.states, 1)), missing)
        table[self.state_units, self.slots] = np.arange(missing)
        return table

    def driven(self, number: int) -> np.ndarray | None:
        """The unit that each entry of a variable drives; None if it drives none."""
        found = self.of.get(number)
        return None if found is None or (found == NONE).all() else found

    @cached_property
    def group_of_unit(self) -> np.ndarray:
        """The group of each unit: a layer.

        Units that one synapse drives are one group, and so are those of a carry that no
        synapse drives. Layers that are packed into one carry are apart.
        """
        leader = np.arange(len(self.sizes))

        def join(units: np.ndarray) -> None:
            old = np.unique(leader[units[units >= 0]])
            if len(old):
                leader[np.isin(leader, old)] = old[0]

        driven = np.zeros(0, int)
        for synapse in self.step.synapses:
            units = self.driven(synapse.output)
            if units is not None:
                join(units.ravel())
                driven = np.append(driven, units)
        for i in self.active:
            units = self.of[self.step.carries[i]].ravel()
            join(units[~np.isin(units, driven)])
        return leader

    def groups_in(self, units: np.ndarray) -> frozenset[int]:
        """The groups of some units; entries below 0 are of no unit."""
        return frozenset(self.group_of_unit[units[units >= 0]].ravel().tolist())

    def groups_of(self, carry: int) -> frozenset[int]:
        """The groups of the states in an active carry, by its position."""
        return self.groups_in(self.of[self.step.carries[carry]])

    @cached_property
    def driven_groups(self) -> tuple[int | None, ...]:
        """The group of units that each synapse drives; None if it drives none."""
        found: list[int | None] = []
        for synapse in self.step.synapses:
            units = self.driven(synapse.output)
            at = None if units is None else units[units >= 0]
            found.append(None if at is None else int(self.group_of_unit[at.flat[0]]))
        return tuple(found)

    @cached_property
    def reached_groups(self) -> tuple[frozenset[int], ...]:
        """The groups of units that each synapse reaches within a step, by any path."""
        step = self.step
        found: list[frozenset[int]] = [frozenset()] * len(step.synapses)
        for i in reversed(range(len(step.synapses))):
            output = step.synapses[i].output
            units = self.driven(output)
            reached = frozenset[int]() if units is None else self.groups_in(units)
            after = {output}
            for op in step.ops:
                if after.isdisjoint(reads(op)) or op.name == "stop_gradient":
                    continue
                at = step.synapse_at.get(id(op))
                if at is None:
                    after.update(op.outputs)
                else:
                    reached |= found[at]
            found[i] = reached
        return tuple(found)

    @cached_property
    def recurrent(self) -> tuple[frozenset[int], ...]:
        """For each synapse, the groups that it connects with themselves.

        Its input depends on their carry, without another synapse in between, and its
        output reaches them within the step.
        """
        pairs = zip(self.step.synapses, self.reached_groups, strict=True)
        return tuple(
            frozenset()
            if isinstance(synapse.input, Literal)
            else reached & self._read_groups(synapse.input)
            for synapse, reached in pairs
        )

    def _read_groups(self, number: int) -> frozenset[int]:
        """The groups whose carry a value depends on without a synapse in between."""
        origin = self.origin.get(number)
        if origin is None:
            return frozenset()
        if (origin == SEVERAL).any():  # of which units is not known
            return self.stale.get(number, frozenset())
        return self.groups_in(origin)

    @cached_property
    def stale(self) -> dict[int, frozenset[int]]:
        """The same for whole variables: all groups of the carries before each."""
        step = self.step
        found = {step.carries[i]: self.groups_of(i) for i in self.active}
        for op in step.ops:
            if id(op) in step.synapse_at or op.name == "stop_gradient":
                continue
            groups = frozenset[int]().union(*(found.get(a, ()) for a in reads(op)))
            if groups:
                found.update((n, groups) for n in op.outputs if step.inexact(n))
        return found
