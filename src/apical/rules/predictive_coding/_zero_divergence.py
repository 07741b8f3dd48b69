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
from typing import ClassVar

import jax

from .._rule import relative_norm
from ._energy import Values
from ._fixed_prediction import sweep_exactly
from ._free_prediction import Free
from ._levels import levels
from ._settled import Budget, Settled


@dataclass(frozen=True)
class ZeroDivergence:
    """Free predictions, steps of size 1, and weights that move at their own tick.

    The update is that of backpropagation, on every graph. The `steps` of the rule are
    not used: there are as many ticks as the longest path has nodes (a loop counts
    once). All are taken in one reverse pass, as by `Sweep()`: the error of a node at
    its tick is the cotangent there. The values have not settled when the last weights
    move: the residual is that of free predictions.

    Example:
      >>> import apical
      >>> rule = apical.rules.PredictiveCoding(
      ...     prediction="free", inference=apical.rules.ZeroDivergence()
      ... )

    Source: Song, Lukasiewicz, Xu & Bogacz 2020, NeurIPS; Salvatori, Song, Xu,
    Lukasiewicz & Bogacz 2022, AAAI.
    """

    citation: ClassVar[str] = (
        "@inproceedings{song2020can, title={Can the Brain Do Backpropagation? "
        "Exact Implementation of Backpropagation in Predictive Coding Networks}, "
        "author={Song, Yuhang and Lukasiewicz, Thomas and Xu, Zhenghua and "
        "Bogacz, Rafal}, booktitle={NeurIPS}, year={2020}}"
    )

    def settle(self, energy: Free, budget: Budget) -> Settled:
        """In one reverse pass, whose cotangents are the errors of each tick."""
        del budget
        swept, ticks = sweep_exactly(energy.terms), max(levels(energy.circuit).values())
        residual = _residual(energy, swept.values)
        return swept._replace(residual=residual, steps=ticks)


def _residual(energy: Free, values: Values) -> jax.Array:
    """How far from rest values are that have moved once each."""
    return relative_norm(energy.slope(values), energy.slope(energy.start))
