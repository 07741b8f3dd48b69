"""Zero-divergence inference learning: every layer's weights move at its own tick.

Predictions are free and steps have size 1. At tick k the nodes k nodes away from the
loss move for the first time, and in the same tick the parameters that make them learn
from their errors, later than those above and sooner than those below:

    v_n <- v_n - dE/dv_n,      d theta_n = -<e_n, dp_n/d theta_n>      at tick k

What makes them has not moved yet, so predictions and their derivatives are still those
of the forward pass: the same as fixed ones. Where paths have different lengths,
identity nodes make them alike (Salvatori et al. 2022): what has come along a shorter
one waits for the longest.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from .._rule import relative_norm, wide
from ._energy import Values
from ._fixed_prediction import linearise, sweep_exactly
from ._free_prediction import Free
from ._levels import levels
from ._settled import Budget, Settled


@dataclass(frozen=True)
class ZeroDivergence:
    """Free predictions, steps of size 1, and weights that move at their own tick.

    The update is that of backpropagation, on every graph. The `steps` of the rule are
    not used: there are as many ticks as the longest path has nodes. Inside loops a
    tick would be a step of time, and all are taken in one reverse pass, as by
    `Sweep()`, with the same numbers. The values have not settled when the last weights
    move: the residual is that of free predictions.

    Example:
      >>> import apical
      >>> rule = apical.rules.PredictiveCoding(
      ...     prediction="free", inference=apical.rules.ZeroDivergence()
      ... )

    Source: Song, Lukasiewicz, Xu & Bogacz 2020, NeurIPS; Salvatori, Song, Xu,
    Lukasiewicz & Bogacz 2022, AAAI.
    """

    def settle(self, energy: Free, budget: Budget) -> Settled:
        """Tick by tick, from the loss to the input."""
        del budget
        circuit, terms = energy.circuit, energy.terms
        if circuit.has_loop:
            swept = sweep_exactly(terms)
            return swept._replace(residual=_residual(energy, swept.values))
        level, linear, none = levels(circuit), linearise(terms), wide(circuit.zeros())
        # The parameters after the last nodes learn from the loss at once.
        grads, pulled = linear.pull(terms.pull, none)
        waiting, errors = pulled, none
        ticks = max(level.values())
        for tick in range(1, ticks + 1):
            now = [n for n in level if level[n] == tick]
            mine = {**none, **{n: -circuit.scale * waiting[n] for n in now}}
            more, pulled = linear.pull(0.0, mine)
            grads = jax.tree.map(jnp.add, grads, more)
            waiting = jax.tree.map(jnp.add, waiting, pulled)
            errors = {**errors, **{n: mine[n] for n in now}}
        values = jax.tree.map(jnp.add, linear.values, errors)
        residual = _residual(energy, values)
        return Settled(linear.value, linear.aux, grads, values, errors, residual, ticks)


def _residual(energy: Free, values: Values) -> jax.Array:
    """How far from rest values are that have moved once each."""
    return relative_norm(energy.slope(values), energy.slope(energy.start))
