"""Estimators of the gradient from nudged states: their nudges b_k and weights w_k.

    dL/dtheta ~ -sum_k w_k dPhi_k/dtheta,      Phi_k at the state nudged by b_k

| estimate        | b_k                   | w_k                          | error    |
|-----------------|-----------------------|------------------------------|----------|
| one-sided       | b, 0                  | 1/b, -1/b                    | O(b)     |
| random sign     | the same with b or -b | the same                     | O(b)     |
| centred         | b, -b                 | 1/2b, -1/2b                  | O(b^2)   |
| Holomorphic(N)  | b e^(2 pi i k/N)      | e^(-2 pi i k/N) / (N b)      | O(b^N)   |

The last is the first coefficient of a power series in b, by Cauchy's formula on a
circle, as a discrete Fourier sum. Conjugate points give conjugate terms, so only one
point of each pair is settled, with twice its weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

KINDS = ("one-sided", "random sign", "centred")


@dataclass(frozen=True)
class Holomorphic:
    """Nudges on a circle in the complex plane.

        b_k = nudge e^(2 pi i k/N),     w_k = e^(-2 pi i k/N) / (N nudge)

    With N points the error is O(nudge^N) if the nudge is below the radius of
    convergence of the equilibrium as a power series in it; beyond that radius the error
    does not decrease with N. With N = 2 it is the centred estimate.

    Args:
      points: N, at least 2.

    Example:
      >>> import apical
      >>> estimate = apical.rules.Holomorphic(4)
      >>> rule = apical.rules.EquilibriumPropagation(0.4, estimate=estimate)

    Source: Laborieux & Zenke 2022, NeurIPS.
    """

    points: int = 4

    citation: ClassVar[str] = (
        "@inproceedings{laborieux2022holomorphic, title={Holomorphic Equilibrium "
        "Propagation Computes Exact Gradients Through Finite Size Oscillations}, "
        "author={Laborieux, Axel and Zenke, Friedemann}, booktitle={NeurIPS}, "
        "year={2022}}"
    )

    def __post_init__(self) -> None:
        if not isinstance(self.points, int) or self.points < 2:
            raise ValueError(
                f"`points` must be a whole number of at least 2, not {self.points!r}."
            )


class Stencil(NamedTuple):
    """Nudges and their weights; the last nudge is 0 if the free state is used."""

    nudges: Any
    weights: Any
    with_free: bool


_LABORIEUX = (
    "@article{laborieux2021scaling, title={Scaling Equilibrium Propagation to"
    " Deep ConvNets by Drastically Reducing Its Gradient Estimator Bias}, "
    "author={Laborieux, Axel and Ernoult, Maxence and Scellier, Benjamin and "
    "Bengio, Yoshua and Grollier, Julie and Querlioz, Damien}, "
    "journal={Frontiers in Neuroscience}, volume={15}, year={2021}}"
)


def source_of(estimate: str | Holomorphic) -> str:
    """The source of an estimate, as BibTeX; empty if it is that of the rule."""
    if isinstance(estimate, Holomorphic):
        return estimate.citation
    return "" if estimate == "one-sided" else _LABORIEUX


def stencil(estimate: str | Holomorphic, nudge: Any, key: Any) -> Stencil:
    """The points of an estimate; `key` draws the sign."""
    if isinstance(estimate, Holomorphic):
        return _circle(estimate.points, nudge)
    if estimate == "centred":
        signs = np.array([1.0, -1.0])
        return Stencil(signs * nudge, signs / (2 * nudge), False)
    if estimate == "random sign":
        nudge = nudge * jax.random.rademacher(key, (), float)
    signs = jnp.array([1.0, -1.0])
    return Stencil(jnp.array([1.0, 0.0]) * nudge, signs / nudge, True)


def _circle(points: int, nudge: Any) -> Stencil:
    half = np.arange(points // 2 + 1)
    circle = np.exp(2j * np.pi * half / points)
    alone = (half == 0) | (2 * half == points)
    weights = np.where(alone, 1, 2) / (points * circle)
    dtype = jnp.result_type(complex)
    radius = jnp.asarray(nudge, float)
    return Stencil(
        jnp.asarray(circle, dtype) * radius, jnp.asarray(weights, dtype) / radius, False
    )
