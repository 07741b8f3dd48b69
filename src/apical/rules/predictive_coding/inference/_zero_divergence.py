"""Zero-divergence inference learning: each layer's weights move at its own step.

Predictions are free and steps have size 1. In step k the nodes k nodes away from the
loss move for the first time, and in the same step the parameters that make them learn
from their errors, later than those above and sooner than those below:

    v_n <- v_n - dE/dv_n,      d theta_n = -<e_n, dp_n/d theta_n>      in step k

What makes them has not moved yet, so predictions and their derivatives are still those
of the forward pass: the same as fixed ones. Where paths have different lengths,
identity nodes make them alike (Salvatori et al. 2022): what arrives along a shorter one
waits for the longest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from .._energy import AbstractEnergy, Settled
from .._fixed_prediction import sweep_exactly
from ._abstract import AbstractInference, Budget
from ._sweep import levels


@final
@dataclass(frozen=True)
class ZeroDivergence(AbstractInference):
    """Free predictions, steps of size 1, and weights that move at their own step.

    The update is that of backpropagation, on every graph. The `steps` of the rule are
    not used: there are as many steps as the longest path has nodes (a loop counts
    once). All are taken in one reverse pass, as by `Sweep()`: the error of a node at
    its step is the cotangent there. The values have not settled when the last weights
    move: the residual is that of free predictions.

    Example:
      >>> import apical
      >>> rule = apical.rules.PredictiveCoding(
      ...     prediction="free", inference=apical.rules.ZeroDivergence()
      ... )

    Source: Song, Lukasiewicz, Xu & Bogacz 2020, NeurIPS; Salvatori, Song, Xu,
    Lukasiewicz & Bogacz 2022, AAAI.
    """

    requires_prediction = "free"
    requires_derivative = True
    supports_precision = False
    settles = False
    citation: ClassVar[str] = (
        "@inproceedings{song2020can, title={Can the Brain Do Backpropagation? "
        "Exact Implementation of Backpropagation in Predictive Coding Networks}, "
        "author={Song, Yuhang and Lukasiewicz, Thomas and Xu, Zhenghua and "
        "Bogacz, Rafal}, booktitle={NeurIPS}, year={2020}}"
    )

    def settle(self, energy: AbstractEnergy, budget: Budget) -> Settled:
        """One reverse pass, whose cotangents are the errors of each step."""
        del budget
        swept, steps = sweep_exactly(energy.terms), max(levels(energy.circuit).values())
        return swept._replace(residual=energy.residual(swept.values), steps=steps)
