"""The evaluation of a step, with recurrent signals stopped and synapses replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._evaluate._feedback_weight import with_feedback_weight
from ..._jaxpr import Atom, Literal, Op
from .._units._own_weights import OwnWeights, own_weights
from .._units._units import Units
from ._step import Step, reads
from ._step_taps import StepTaps, shifted

NO_TAPS = StepTaps()


class StepResult(NamedTuple):
    """What a step computes.

    Attributes:
      carry: the carries after the step, as the next step reads them.
      last: the same, as what follows the loop reads them: through taps.
      ys: its outputs, and the values of its sites.
      inputs: the input of each synapse.
      outputs: the output of each synapse, as it is computed.
    """

    carry: list[Any]
    last: list[Any]
    ys: list[Any]
    inputs: list[Any]
    outputs: list[Any]


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

    def carries(self, groups: frozenset[int]) -> dict[int, np.ndarray]:
        """The carries that hold states of some groups, and where they do."""
        units, found = self.units, dict[int, np.ndarray]()
        for i in units.active:
            number = units.step.carries[i]
            mask = np.isin(units.group_of_unit[units.of[number]], list(groups))
            if mask.any():
                found[number] = mask
        return found


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
    taps: StepTaps = NO_TAPS,
) -> StepResult:
    """One step.

    Args:
      step: the step.
      fixed: the values that are the same at every step, by variable.
      copies: the weight of the backward path of each synapse; None for its own.
      carry: the carries before the step.
      xs: its inputs, and the values injected at its sites.
      recurrence: what recurrent synapses pass back; by default everything.
      output: `output(i, y)` replaces the output of synapse `i`.
      use: `use(j, w)` replaces the weight in `step.uses[j]`.
      taps: the sites. Synapses and outputs read a site through its tap, in this step
        and at the next one. The carry itself has the derivative of what is there
        without taps: a unit's own state passes to the next step.
    """
    values = dict(fixed)
    values.update(zip(step.carries, carry, strict=True))
    given, injected = xs[: len(step.xs)], xs[len(step.xs) :]
    values.update(zip(step.xs, given, strict=True))
    evaluation = _Evaluation(
        step=step,
        copies=copies,
        recurrence=recurrence,
        output=output,
        use=use,
        taps=taps,
        injected=dict(zip(taps.injected, injected, strict=True)),
        values=values,
    )
    for op in step.ops:
        at = step.synapse_at.get(id(op))
        if at is None:
            evaluation.run(op)
        else:
            evaluation.run_synapse(op, at)
        evaluation.visit(op)
    return evaluation.result()


@dataclass(eq=False)
class _Evaluation:
    """The values of one evaluation of a step.

    `values` are those of the variables. The others hold values of which the derivatives
    differ, and a variable that is missing there has that of the next in line:

    * `received`: what synapses and outputs read of a carry that holds values of sites;
    * `tapped`: what they read where a site of this step comes before;
    * `shadows`: without the derivative by the carry of some groups, for the recurrent
      synapses of these;
    * `tapped_shadows`: these through taps.
    """

    step: Step
    copies: Sequence[Any]
    recurrence: Recurrence | None
    output: Callable[[int, Any], Any] | None
    use: Callable[[int, Any], Any] | None
    taps: StepTaps
    injected: Mapping[str, Any]
    values: dict[int, Any]

    def __post_init__(self) -> None:
        self.inputs: list[Any] = [None] * len(self.step.synapses)
        self.outputs: list[Any] = [None] * len(self.step.synapses)
        self.sites: dict[str, Any] = {}
        self.tapped: dict[int, Any] = {}
        self.received = {
            n: self.taps.received(n, self.values[n]) for n in self.taps.carried
        }
        self.shadows: dict[frozenset[int], dict[int, Any]] = {}
        self.tapped_shadows: dict[frozenset[int], dict[int, Any]] = {}
        if self.recurrence is not None:
            for groups in set(self.recurrence.stopped.values()):
                still = {
                    n: _stopped(self.values[n], mask)
                    for n, mask in self.recurrence.carries(groups).items()
                }
                self.shadows[groups] = still
                self.tapped_shadows[groups] = dict(still) if self.taps.sites else still

    def read(self, atom: Atom, *first: Mapping[int, Any]) -> Any:
        """A value, from the first of some mappings that holds it."""
        if isinstance(atom, Literal):
            return atom.value
        return next((x[atom] for x in first if atom in x), self.values[atom])

    def consumed(self, atom: Atom) -> Any:
        """A value as what follows reads it, through taps."""
        return self.read(atom, self.received, self.tapped)

    def _computed(self, op: Op, *first: Mapping[int, Any]) -> dict[int, Any]:
        """The results of an operation."""
        found = [self.read(a, *first) for a in op.inputs]
        if self.use is not None:
            for i, value in enumerate(found):
                j = self.step.use_at.get((id(op), i))
                if j is not None:
                    found[i] = self.use(j, value)
        return dict(zip(op.outputs, op(*found), strict=True))

    def run(self, op: Op) -> None:
        """An operation that is no synapse."""
        self.values.update(self._computed(op))
        numbers = reads(op)
        if not self.tapped.keys().isdisjoint(numbers):
            self.tapped.update(self._computed(op, self.tapped))
        if not self.received.keys().isdisjoint(numbers):
            self.received.update(self._computed(op, self.received, self.tapped))
        for groups, shadow in self.shadows.items():
            assert self.recurrence is not None
            if id(op) not in self.recurrence.before.get(groups, ()):
                continue
            if not shadow.keys().isdisjoint(numbers):
                shadow.update(self._computed(op, shadow))
            if self.taps.sites:
                also = self.tapped_shadows[groups]
                if not also.keys().isdisjoint(numbers):
                    read = also, self.received, self.tapped
                    also.update(self._computed(op, *read))

    def run_synapse(self, op: Op, at: int) -> None:
        """A synapse, with the input and the output that are asked for."""
        synapse = self.step.synapses[at]
        w = self.read(op.inputs[synapse.weight])
        groups = self.recurrence.stopped.get(at) if self.recurrence else None
        first = {} if groups is None else self.tapped_shadows[groups]
        passed = self.read(synapse.input, first, self.received, self.tapped)
        self.inputs[at] = passed
        copy = self.copies[at] if self.copies else None
        if copy is None:
            y = _apply(op, synapse.weight, passed, w)
        else:
            y = with_feedback_weight(op, synapse.weight, passed, w, copy)
        self.outputs[at] = y
        y = y if self.output is None else self.output(at, y)
        if self.recurrence is not None and at in self.recurrence.own_weights:
            assert groups is not None
            shadow, b = self.shadows[groups], w if copy is None else copy
            x, alone = self.read(synapse.input), self.read(synapse.input, shadow)
            own = self.recurrence.own_weights[at](x - alone, jax.lax.stop_gradient(b))
            # What other recurrent synapses of the step read is without this path.
            shadow[op.outputs[0]] = first[op.outputs[0]] = y
            y = y + own.astype(y.dtype)  # 0, with a derivative
        self.values[op.outputs[0]] = y

    def visit(self, op: Op) -> None:
        """The sites among the results of an operation."""
        for n in op.outputs:
            if n not in self.taps.at:
                continue
            value = self.read(n, self.tapped)
            passed = self.taps.consumed(n, value, self.injected, self.sites)
            if self.taps.tap is None:
                continue
            self.tapped[n] = passed
            self.received.pop(n, None)
            self.values[n] = shifted(self.values[n], passed)
            for groups, shadow in self.shadows.items():
                if n in shadow:
                    shadow[n] = shifted(shadow[n], passed)
                also = self.tapped_shadows[groups]
                if n in also:
                    also[n] = self.taps.consumed(n, also[n], self.injected)

    def result(self) -> StepResult:
        """What the step computes."""
        ys = [self.consumed(a) for a in self.step.ys]
        return StepResult(
            [self.read(a) for a in self.step.carried],
            [self.consumed(a) for a in self.step.carried],
            [*ys, *(self.sites[name] for name in self.taps.names)],
            self.inputs,
            self.outputs,
        )


def _stopped(value: Any, mask: np.ndarray) -> Any:
    """A value without derivatives where a mask says so."""
    still = jax.lax.stop_gradient(value)
    return still if mask.all() else jnp.where(mask, still, value)


def _apply(op: Op, weight: int, x: Any, w: Any) -> Any:
    return op(w, x)[0] if weight == 0 else op(x, w)[0]
