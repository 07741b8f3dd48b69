"""What the rules share whose network is one that settles: its free state.

predict       the output of the free state
descended     the loss there: backpropagation goes through settling
value, aux    those of the free state
"""

from __future__ import annotations

from typing import Any

import jax

from ...circuit import Circuit
from .._rule import Rule, check_positive, check_whole
from .._unheard import steps_across
from ._settling import OUTPUT, State, Units, Values, settle
from ._units import require_units, strengths


class FreeNetwork(Rule):
    """A rule whose trained network settles before it answers."""

    free_steps: int | None
    rate: Any
    gain: Any
    nodes = "unit"

    def check_free(self) -> None:
        """Check the fields that all of them have."""
        if self.free_steps is not None:
            check_whole(self.free_steps, "free_steps")
        check_positive(self.rate, "rate")
        check_positive(self.gain, "gain")

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Refuse where there is no energy of units."""
        del key
        require_units(circuit, params, args, type(self).__name__)
        return ()

    def units(self, circuit: Circuit, params: Any, args: Any) -> Units:
        """The network, as this rule reads it."""
        return Units(circuit, params, args, strengths(circuit, self.gain))

    def settle_freely(self, units: Units) -> State:
        """The free state, from zeros."""
        steps = self.free_steps or steps_across(units.circuit, 30)
        return settle(
            units,
            units.circuit.zeros(),
            lambda values: self.free_step(units, values),
            steps,
            self.rate,
        )

    def free_step(self, units: Units, values: Values) -> Values:
        """One step towards the free state."""
        return units.step(values, self.rate)

    def predict(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The output of the free state."""
        del state
        free = self.settle_freely(self.units(circuit, params, args))
        run = circuit.run(
            params, args, tap="clamp", inject=free.values, sites=(OUTPUT,)
        )
        return circuit.apart(run.sites[OUTPUT])

    def descended(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The loss of the free state."""
        del state
        units = self.units(circuit, params, args)
        return units.at_rest(self.settle_freely(units).values).loss
