"""Error relaxation: gradient descent on the energy as a function of the errors.

    E(e) = sum_n pi_n |e_n|^2 / 2 + pull L(v(e)),      v_n = p_n(v) + e_n

    e <- e - rate dE/de

The equilibria are those of the values: dE/de = 0 where dE/dv = 0. But a signal reaches
all layers in one step, and few steps are enough, because the curvature of one example
is 1 plus a matrix whose rank is at most the size of its output. The steps of Barzilai &
Borwein measure it:

    rate = <s, y> / <y, y>,     s, y: the last change of e and of dE/de

for each example separately, so that none depends on its batch. Where <s, y> <= 0 the
step has the initial rate. In deep trained networks these steps can overshoot, so their
norm is bounded. Free arguments descend the same energy beside the errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
import optax

from ....circuit import Circuit
from ..._adaptive_step_size import PerExample, ratio
from ..._field_checks import check_positive, check_transformation
from .._energy import AbstractEnergy, Settled
from ._abstract import AbstractInference, Budget
from ._gradient_descent import GradientDescent


@final
@dataclass(frozen=True)
class ErrorRelaxation(AbstractInference):
    """Relax the errors in place of the values: a solver, not a biological mechanism.

    Each step is a forward pass and a global backward pass, so it is not local; it
    computes the equilibrium of the local dynamics in fewer steps. The first step has
    the rule's rate (by default 0.3).

    Args:
      optimizer: any optax transformation; None: steps of Barzilai & Borwein.
      longest: the maximum norm of a Barzilai-Borwein step, over all errors and free
        arguments of an example, in units of activities.

    Example:
      >>> import apical
      >>> rule = apical.rules.PredictiveCoding(
      ...     steps=5, prediction="free", inference=apical.rules.ErrorRelaxation()
      ... )

    Source: Goemaere et al. 2026, ICML (errors as variables); Barzilai & Borwein 1988,
    IMA Journal of Numerical Analysis 8 (the steps).
    """

    optimizer: optax.GradientTransformation | None = None
    longest: float = 0.3

    requires_prediction = "free"
    requires_derivative = True
    supports_tolerance = True
    supports_free_arguments = True
    reaches_all_nodes = True
    default_rate = 0.3
    needs = ("global error",)
    citation: ClassVar[str] = (
        "@misc{goemaere2025error, title={Error Optimization: Overcoming "
        "Exponential Signal Decay in Deep Predictive Coding Networks}, "
        "author={Goemaere, C{\\'e}dric and Oliviers, Gaspard and Bogacz, Rafal and"
        " Demeester, Thomas}, note={arXiv:2505.20137}, year={2025}}"
    )

    def __post_init__(self) -> None:
        check_positive(self.longest, "longest")
        if self.optimizer is not None:
            check_transformation(self.optimizer, "optimizer")

    def check(self, circuit: Circuit) -> None:
        """Require an axis of examples: step sizes are per example."""
        _ = circuit.example_axes

    def settle(self, energy: AbstractEnergy, budget: Budget) -> Settled:
        """Descend from errors of 0, the feed-forward values; free arguments too."""
        errors = energy.in_error_space
        steps = self.optimizer or barzilai_borwein(
            errors.by_example, budget.rate, self.longest
        )
        return GradientDescent(steps).settle(errors, budget)


class Memory(NamedTuple):
    """The last point and slope, and the number of steps taken."""

    point: Any
    slope: Any
    taken: jax.Array


def barzilai_borwein(
    by_example: PerExample, rate: Any, longest: float
) -> optax.GradientTransformation:
    """Barzilai-Borwein steps as a transformation; the first has the given rate."""

    def init(params: Any) -> Any:
        return Memory(params, params, jnp.zeros((), int))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        slope, memory, point = updates, state, params
        moved = jax.tree.map(jnp.subtract, point, memory.point)
        grown = jax.tree.map(jnp.subtract, slope, memory.slope)
        along = by_example.dot(moved, grown)
        rates = jnp.where(
            (along > 0) & (memory.taken > 0),
            ratio(along, by_example.dot(grown, grown), rate),
            rate,
        )
        size = jnp.sqrt(by_example.dot(slope, slope))
        rates = jnp.minimum(rates, ratio(jnp.full_like(size, longest), size, 1.0))
        return by_example.times(-rates, slope), Memory(point, slope, memory.taken + 1)

    return optax.GradientTransformation(init, update)
