"""What the rules share that compare two losses of the batch for each draw."""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from ...circuit import Circuit
from .._rule import Credit, Rule, salted
from ._noise import correlation, draw, require_precise, require_real
from ._weights import both_sides, combined, leaf_types, loss_of


class PairedRule(Rule):
    """A rule that moves all parameters one way and the other, and compares."""

    noise: Any
    pairs: int
    derivative_free: ClassVar[bool] = True

    @property
    def directions(self) -> str:
        """Of what kind the draws are."""
        return "normal"

    def weighed(self, losses: jax.Array) -> jax.Array:
        """What of the losses counts: `[pairs, 2]`."""
        return losses

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """A key of its own."""
        del args
        name, types = type(self).__name__, leaf_types(circuit, params)
        require_real(types, name)
        require_precise(types, name)
        return salted(key, f"apical.{name}")

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Two losses for each pair, all side by side."""
        now, later = jax.random.split(state)
        run = circuit.run(params, args, sites=())
        learned, loss = loss_of(circuit, params, args)
        directions = draw(now, learned, self.pairs, self.directions)
        losses = both_sides(circuit, loss, learned, directions, self.noise)
        scores = self.weighed(losses)
        slopes = (scores[:, 0] - scores[:, 1]) / (2 * self.noise)
        grads = circuit.leaves.build(combined(slopes, directions))
        return Credit(run.loss, run.aux, grads, later, correlation(slopes))
