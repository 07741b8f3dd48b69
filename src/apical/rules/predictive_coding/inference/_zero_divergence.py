"""Zero-divergence inference learning: the weights of each layer learn at a fixed step.

Predictions are free and steps have size 1. In step k the nodes at distance k from the
loss change for the first time, and in the same step their parameters learn from their
errors:

    v_n <- v_n - dE/dv_n,      d theta_n = -<e_n, dp_n/d theta_n>      in step k

The nodes below have not changed yet, so predictions and their derivatives are still
those of the forward pass, as with fixed predictions. Paths of different lengths are
padded with identity nodes (Salvatori et al. 2022): a signal on a shorter path waits for
the longest.
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
    """Free predictions and steps of size 1; each layer learns when the error arrives.

    The update equals backpropagation on every graph. The `steps` of the rule are
    not used: there are as many steps as the longest path has nodes (a loop counts
    once). One reverse pass computes all of them, as for `Sweep()`: the error of a node
    at its step is the cotangent there. The values have not settled when the last
    weights learn: the residual is that of free predictions.

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
    # A layer learns from its values of the forward pass when the error arrives.
    needs = ("stored activities",)
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
