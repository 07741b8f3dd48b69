"""A loop whose credit passes back in time along units alone: what is traced, and how.

    dL/dW = sum over t [ direct_t + lambda_t . e_{t-1} ]

`direct` and `lambda` are the derivatives of the outputs of step t with respect to the
weights and the carry, with the recurrent synapses' reading of the carry stopped. The
eligibility trace e_t is the derivative of a unit's states with respect to the weights
that drive it, along the unit alone:

    e_t = D_t e_{t-1} + d(states_t)/d(drive) . input_t
    D_t = d(states_t)/d(states_{t-1})
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._analysis._primitives import is_elementwise
from .._readouts._readouts import is_filter
from .._steps._step import Step
from .._steps._step_evaluation import NO_TAPS, Recurrence
from .._steps._step_taps import StepTaps
from .._units._synapse_axes import SynapseAxes, synapse_axes
from .._units._units import Units


class FilterTrace(NamedTuple):
    """What a leaky read-out remembers of the activity that one of its synapses reads.

    Attributes:
      held: the filtered activity.
      synapses: its derivative with respect to the weight of each traced synapse: that
        of the unit that the synapse drives, `[free axes, weight]`.
      uses: the same for each traced use of a weight outside of synapses.
      biases: the filtered number 1, for each bias of the read-out.
    """

    held: jax.Array
    synapses: list[jax.Array]
    uses: list[jax.Array]
    biases: list[jax.Array]


class Traces(NamedTuple):
    """The eligibility traces of a loop.

    Attributes:
      synapses: for each traced synapse `[states, free axes, weight]`; where the trace
        has a factor for each end, the filtered input alone, in the input's shape.
      uses: for each traced use of a weight outside of synapses `[states, result]`.
      filters: for each synapse of a read-out that continues from call to call.
    """

    synapses: list[jax.Array]
    uses: list[jax.Array]
    filters: list[FilterTrace]


@dataclass(frozen=True, eq=False)
class UnitLoop:
    """The part of a loop that holds its units.

    Attributes:
      step: the step.
      recurrence: its units, and what recurrent synapses pass back.
      length: the number of steps.
      reverse: whether the loop runs from the last input to the first.
      unroll: as in `lax.scan`.
      taps: the sites in the step.
    """

    step: Step
    recurrence: Recurrence
    length: int
    reverse: bool
    unroll: int | bool
    taps: StepTaps = NO_TAPS

    @property
    def units(self) -> Units:
        """The units."""
        return self.recurrence.units

    @property
    def active(self) -> tuple[int, ...]:
        """The positions of the carries that are states of units."""
        return self.units.active

    @cached_property
    def traced(self) -> dict[int, SynapseAxes]:
        """The learned synapses that drive units, and their axes."""
        step = self.step
        return {
            i: synapse_axes(step, s)
            for i, s in enumerate(step.synapses)
            if step.learns(s.op.inputs[s.weight]) and self._drives(s.output)
        }

    @cached_property
    def used(self) -> tuple[int, ...]:
        """The uses of a weight, entry by entry, that drive units."""
        return tuple(
            j
            for j, (op, _) in enumerate(self.step.uses)
            if is_elementwise(op)
            and op.name != "broadcast_in_dim"
            and self._drives(op.outputs[0])
        )

    def _drives(self, number: int) -> bool:
        return bool(self.active) and self.units.driven(number) is not None

    @cached_property
    def driving_inputs(self) -> tuple[int, ...]:
        """The inputs of the step that depend on parameters and drive units directly."""
        return tuple(
            i
            for i, n in enumerate(self.step.xs)
            if self.step.learns(n) and self._drives(n)
        )

    @cached_property
    def leaky(self) -> bool:
        """Whether units have one state each, which decays by one number in a layer."""
        if self.units.states != 1 or self.recurrence.own_weights:
            return False
        step = self.step
        pairs = ((step.carries[i], step.carried[i]) for i in self.active)
        return all(is_filter(step, start, end) for start, end in pairs)

    @property
    def other_than_leaky(self) -> str:
        """Why units are not leaky, for messages."""
        states = self.units.states
        if states != 1:
            return f"have {states} states each" if states else "have no memory"
        if self.recurrence.own_weights:
            return "read themselves through a synapse"
        return (
            "decay by what is learned, differs between units, or depends on their state"
        )

    @cached_property
    def factored(self) -> bool:
        """Whether each trace is one number times the filtered input of its synapse.

        So it is where units are leaky and add the outputs of synapses times one number.
        """
        if not self.leaky or not self.traced:
            return False
        # A weight of the same letters at both ends would be an example's own.
        if any(set(a.input) & set(a.weight) & set(a.output) for a in self.axes):
            return False
        step, groups = self.step, self.units.driven_groups
        return all(
            is_filter(step, step.synapses[j].output, step.carried[i])
            for j in self.traced
            for i in self.active
            if groups[j] in self.units.groups_of(i)
        )

    @property
    def axes(self) -> Sequence[SynapseAxes]:
        """The axes of the traced synapses."""
        return list(self.traced.values())

    @cached_property
    def dtype(self) -> Any:
        """The dtype of the states of the units, of which all fit."""
        dtypes = [self.step.dtype(self.step.carries[i]) for i in self.active]
        return jnp.result_type(jnp.float32, *dtypes)

    # ---- States as one flat array.

    def flat(self, values: Sequence[Any]) -> jax.Array:
        """The active carries as one array."""
        if not values:
            return jnp.zeros((0,), self.dtype)
        return jnp.concatenate([jnp.ravel(x).astype(self.dtype) for x in values])

    def unflat(self, flat: jax.Array) -> list[jax.Array]:
        """The active carries from one array."""
        found, at = [], 0
        for i in self.active:
            number = self.step.carries[i]
            shape, dtype = self.step.shape(number), self.step.dtype(number)
            part = flat[at : at + math.prod(shape)].reshape(shape)
            real = not jnp.issubdtype(dtype, jnp.complexfloating)
            if real and jnp.iscomplexobj(part):
                part = part.real
            found.append(part.astype(dtype))
            at += math.prod(shape)
        return found

    def at_slot(self, flat: jax.Array, units: np.ndarray, slot: int) -> jax.Array:
        """The state at a slot of each of some units; 0 where there is none."""
        padded = jnp.concatenate([flat, jnp.zeros((1,), flat.dtype)])
        return padded[self.units.table[units, slot]]

    def through_units(
        self, row: jax.Array, units: np.ndarray, traces: Any, axes: Any = None
    ) -> Any:
        """A row of derivatives by the states of units, times the traces of the states.

            sum over the slots q of a unit [ row[state q of the unit] traces[q] ]

        Args:
          row: `[states]`.
          units: the unit of each entry.
          traces: `[slots, ...]`.
          axes: of the synapse whose weight the traces are of; None where traces have
            the shape of `units`.
        """
        signals = (self.at_slot(row, units, q) for q in range(self.units.states))
        spread = signals if axes is None else map(axes.spread, signals)
        return sum(s * traces[q] for q, s in enumerate(spread))

    def driven(self, number: int) -> np.ndarray:
        """The units that the entries of a variable drive."""
        found = self.units.driven(number)
        assert found is not None
        return found

    # ---- Traces.

    def trace_shapes(self) -> Traces:
        """The shapes and dtypes of the traces."""
        step, m = self.step, self.units.states

        def struct(shape: Sequence[int], *dtypes: Any) -> Any:
            found = jnp.result_type(jnp.float32, *dtypes)
            return jax.ShapeDtypeStruct(tuple(shape), found)

        synapses = []
        for i, axes in self.traced.items():
            dtype = step.dtype(step.synapses[i].output)
            shape = axes.traced(m)
            if self.factored:
                shape = [axes.sizes[a] for a in axes.input]
            synapses.append(struct(shape, dtype, self.dtype))
        uses = []
        for j in self.used:
            made = step.uses[j][0].outputs[0]
            uses.append(struct((m, *step.shape(made)), step.dtype(made), self.dtype))
        return Traces(synapses, uses, [])

    def zero_traces(self) -> Traces:
        """The traces at the start of a sequence, without those of read-outs."""
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), self.trace_shapes())
