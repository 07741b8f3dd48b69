"""The evaluation of a step, with recurrent signals stopped and synapses replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax

from .._evaluate._feedback_weight import with_feedback_weight
from .._jaxpr import Atom, Literal, Op
from ._own_weights import OwnWeights, own_weights
from ._step import Step, reads
from ._units import Units


class StepResult(NamedTuple):
    """What a step computes.

    Attributes:
      carry: the carries after the step.
      ys: its outputs.
      inputs: the input of each synapse.
    """

    carry: list[Any]
    ys: list[Any]
    inputs: list[Any]


@dataclass(frozen=True, eq=False)
class Recurrence:
    """What recurrent synapses pass back from a step to the one before.

    Attributes:
      units: the units of the step.
      own: whether a recurrent synapse passes a signal back to the unit that it drives,
        by that unit's own weight; otherwise it passes nothing.
    """

    units: Units
    own: bool

    @cached_property
    def stopped(self) -> dict[int, frozenset[int]]:
        """The groups whose carry each recurrent synapse reads without a derivative."""
        return {i: groups for i, groups in enumerate(self.units.recurrent) if groups}

    @cached_property
    def own_weights(self) -> dict[int, OwnWeights]:
        """The own weights of the recurrent synapses that drive units."""
        groups = self.units.driven_groups
        owned = (i for i in self.stopped if self.own and groups[i] is not None)
        return {i: own_weights(self.units, i) for i in owned}

    @cached_property
    def before(self) -> dict[frozenset[int], set[int]]:
        """For some groups, the operations between their carry and the synapses."""
        step = self.units.step
        found: dict[frozenset[int], set[int]] = {}
        for i, groups in self.stopped.items():
            needed: set[Atom] = {step.synapses[i].input}
            for op in reversed(step.ops):
                if id(op) not in step.synapse_at and needed.intersection(op.outputs):
                    needed.update(reads(op))
                    found.setdefault(groups, set()).add(id(op))
        return found

    def carries(self, groups: frozenset[int]) -> list[int]:
        """The variables of the carries of some groups."""
        every = self.units.groups.items()
        return [self.units.step.carries[i] for i, g in every if g in groups]


def evaluate(
    step: Step,
    fixed: Mapping[int, Any],
    copies: Sequence[Any],
    carry: Sequence[Any],
    xs: Sequence[Any],
    *,
    recurrence: Recurrence | None = None,
    output: Callable[[int, Any], Any] | None = None,
    use: Callable[[int, Any], Any] | None = None,
) -> StepResult:
    """One step.

    Args:
      step: the step.
      fixed: the values that are the same at every step, by variable.
      copies: the weight of the backward path of each synapse; None for its own.
      carry: the carries before the step.
      xs: its inputs.
      recurrence: what recurrent synapses pass back; by default everything.
      output: `output(i, y)` replaces the output of synapse `i`.
      use: `use(j, w)` replaces the weight in `step.uses[j]`.
    """
    values = dict(fixed)
    values.update(zip(step.carries, carry, strict=True))
    values.update(zip(step.xs, xs, strict=True))
    # What recurrent synapses read: values without the derivative by some groups' carry.
    shadows: dict[frozenset[int], dict[int, Any]] = {}
    if recurrence is not None:
        for groups in set(recurrence.stopped.values()):
            numbers = recurrence.carries(groups)
            shadows[groups] = {n: jax.lax.stop_gradient(values[n]) for n in numbers}
    inputs: list[Any] = [None] * len(step.synapses)

    def read(atom: Atom, first: Mapping[int, Any] | None = None) -> Any:
        if isinstance(atom, Literal):
            return atom.value
        return first[atom] if first and atom in first else values[atom]

    def operands(op: Op, first: Mapping[int, Any] | None = None) -> list[Any]:
        found = [read(a, first) for a in op.inputs]
        if use is not None:
            for i, value in enumerate(found):
                j = step.use_at.get((id(op), i))
                if j is not None:
                    found[i] = use(j, value)
        return found

    for op in step.ops:
        at = step.synapse_at.get(id(op))
        if at is None:
            values.update(zip(op.outputs, op(*operands(op)), strict=True))
            for groups, shadow in shadows.items():
                assert recurrence is not None
                near = id(op) in recurrence.before.get(groups, ())
                if near and not shadow.keys().isdisjoint(reads(op)):
                    made = op(*operands(op, shadow))
                    shadow.update(zip(op.outputs, made, strict=True))
            continue
        synapse = step.synapses[at]
        x, w = read(synapse.input), read(op.inputs[synapse.weight])
        passed: Any = x
        if recurrence is not None and at in recurrence.stopped:
            passed = read(synapse.input, shadows[recurrence.stopped[at]])
        inputs[at] = passed
        copy = copies[at] if copies else None
        if copy is None:
            y = _apply(op, synapse.weight, passed, w)
        else:
            y = with_feedback_weight(op, synapse.weight, passed, w, copy)
        y = y if output is None else output(at, y)
        if recurrence is not None and at in recurrence.own_weights:
            b = w if copy is None else copy
            own = recurrence.own_weights[at](x - passed, jax.lax.stop_gradient(b))
            # What other recurrent synapses of the step read is without this path.
            shadows[recurrence.stopped[at]][op.outputs[0]] = y
            y = y + own.astype(y.dtype)  # 0, with a derivative
        values[op.outputs[0]] = y
    return StepResult(
        [read(a) for a in step.carried], [read(a) for a in step.ys], inputs
    )


def _apply(op: Op, weight: int, x: Any, w: Any) -> Any:
    return op(w, x)[0] if weight == 0 else op(x, w)[0]
