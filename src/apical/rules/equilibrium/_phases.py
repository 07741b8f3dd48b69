"""Free and clamped phases: base classes of rules whose trained network settles.

    free      every unit settles; a linear output follows its input, y = o(s)
    clamped   the output is held at y + strength (target - y)

In both phases the output sends feedback to the units that it reads, through the same
weights. An output that is a unit (marked `apical.node`) is clamped as a unit. `predict`
returns the output of the free state; `value` and `aux` are those of the free state.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import OUTPUT, Circuit, drive_of
from .._base import Credit, Rule, Signal
from .._call_checks import (
    SQUARED_ERROR,
    default_steps,
    matching,
    require_every_head,
    target_of,
    warn_of_unreached_nodes,
)
from .._field_checks import check_positive, check_whole
from .._numerics import NodeArrays
from ._energy import require_units, strengths
from ._settling import State, Units, settle, settling, stack_states


class FreeNetwork(Rule):
    """A rule whose trained network is the one in its free state."""

    free_steps: int | None
    rate: Any
    gain: Any
    nodes = "unit"

    def check_free(self) -> None:
        """Check the fields common to all subclasses."""
        if self.free_steps is not None:
            check_whole(self.free_steps, "free_steps")
        check_positive(self.rate, "rate")
        check_positive(self.gain, "gain")

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Check that the units have an energy."""
        del key
        may_be_flat = self.descends == "loss"
        require_units(circuit, params, args, type(self).__name__, may_be_flat)
        return ()

    def units(self, circuit: Circuit, params: Any, args: Any) -> Units:
        """The network with this rule's strengths."""
        return Units(circuit, params, args, strengths(circuit, self.gain))

    def settle_freely(self, units: Units) -> State:
        """The free state, from zeros."""
        steps = self.free_steps or default_steps(units.circuit, 30)
        return settle(
            units,
            units.circuit.zeros(),
            lambda values: self.free_step(units, values),
            steps,
            self.rate,
        )

    def free_step(self, units: Units, values: NodeArrays) -> NodeArrays:
        """One step towards the free state."""
        return units.step(values, self.rate)

    def predict(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The output of the free state."""
        del state
        free = self.settle_freely(self.units(circuit, params, args))
        run = circuit.run(
            params, args, tap="clamp", inject=free.values, sites=(OUTPUT,)
        )
        return circuit.batch.split_outputs(run.sites[OUTPUT])

    def descended(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The loss of the free state."""
        del state
        units = self.units(circuit, params, args)
        return units.at_rest(self.settle_freely(units).values).loss


class Phases(NamedTuple):
    """The two states, and the output in each (None if it is a unit)."""

    units: Units
    free: State
    clamped: State
    outputs: tuple[Any, Any]


class ClampedNetwork(FreeNetwork):
    """A rule that contrasts a free state with one whose output is clamped."""

    clamped_steps: int | None
    descends = SQUARED_ERROR

    @property
    def clamp_strength(self) -> Any:
        """The fraction of the distance to the target by which the output is moved."""
        return 1.0

    def objective(self, learned: Any, phases: Phases) -> Any:
        """The contrast of both phases, whose gradient is the update direction.

        The Hebbian product at the free state minus that at the clamped state, summed
        over all examples.
        """
        units = phases.units
        free, clamped = (
            units.product(learned, s.values, units.scaled(s.values), output=y)
            for s, y in zip((phases.free, phases.clamped), phases.outputs, strict=True)
        )
        return free - clamped

    def __post_init__(self) -> None:
        self.check_free()
        if self.clamped_steps is not None:
            check_whole(self.clamped_steps, "clamped_steps")

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Check for units, an output and a target."""
        state = super().init(circuit, key, params, args)
        circuit.require_output()
        require_every_head(circuit, type(self).__name__)
        target_of(circuit, args, type(self).__name__)
        if (steps := self.clamped_steps) is not None:
            name = type(self).__name__
            warn_of_unreached_nodes(name, steps, circuit.distances, "clamped_steps")
        return state

    def units(self, circuit: Circuit, params: Any, args: Any) -> Units:
        """The network, in which a linear output is a unit too."""
        linear = circuit.output_node is None
        found = strengths(circuit, self.gain, behind=int(linear))
        return Units(circuit, params, args, found, with_output=linear)

    def free_step(self, units: Units, values: NodeArrays) -> NodeArrays:
        """One step, in which a linear output sends back its value."""
        output = (lambda y: y) if units.with_output else None
        return units.step(values, self.rate, output=output)

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Settle to the free and clamped states, and contrast them."""
        phases, rest = self._settle(circuit, params, args)
        learned = circuit.leaves.split(params)[0]
        scale = circuit.scale * self.clamp_strength
        grads = jax.grad(lambda x: self.objective(x, phases) / scale)(learned)
        info = settling(phases.units, phases.free, stack_states(phases.clamped))
        return Credit(rest.loss, rest.aux, circuit.leaves.combine(grads), state, info)

    def descended(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The squared error of the free state; for a unit, as a loss of its drive."""
        del state
        free = self.settle_freely(self.units(circuit, params, args)).values
        last = circuit.output_node
        drive = OUTPUT if last is None else drive_of(last)
        sites = (OUTPUT, drive)
        run = circuit.run(params, args, tap="clamp", inject=free, sites=sites)
        output = run.sites[OUTPUT] if last is None else free[last]
        target = target_of(circuit, args, type(self).__name__)
        return matching(circuit, run.sites[drive], output, target)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The free state; the teaching signal is the gradient at the drive."""
        del state
        phases, rest = self._settle(circuit, params, args)
        units, free = phases.units, phases.free.values
        change = jax.tree.map(lambda f, c: f - c, free, phases.clamped.values)
        scale = 1 / (circuit.scale * self.clamp_strength)
        teaching = jax.tree.map(lambda x: scale * x, units.scaled(change))
        return {n: Signal(v, rest.sites[n], teaching[n]) for n, v in free.items()}

    def _settle(self, circuit: Circuit, params: Any, args: Any) -> Any:
        units = self.units(circuit, params, args)
        free = self.settle_freely(units)
        rest = units.at_rest(free.values)
        target = target_of(circuit, args, type(self).__name__)
        last = circuit.output_node
        here = rest.sites[OUTPUT] if last is None else free.values[last]
        held = here + jnp.asarray(self.clamp_strength, here.dtype) * (target - here)

        def clamp(values: NodeArrays) -> NodeArrays:
            return values if last is None else {**values, last: held}

        def step(values: NodeArrays) -> NodeArrays:
            output = (lambda y: held) if units.with_output else None
            return clamp(units.step(values, self.rate, output=output))

        start = clamp(free.values)
        steps = self.clamped_steps or default_steps(circuit, 20)
        clamped = settle(units, start, step, steps, self.rate)
        outputs = (here, held) if units.with_output else (None, None)
        return Phases(units, free, clamped, outputs), rest
