"""Newton's method on the errors, each step solved by conjugate gradients.

    H d = -dE/de,     H = d2E/de2,     e <- e + d

If the network is linear, H of one example is 1 (or pi) plus a matrix whose rank is the
size of the output, so conjugate gradients are exact after one more iteration than that
size. Free arguments u are unknowns beside the errors; on a quadratic energy as many
iterations as unknowns are exact. Each example is solved separately; a direction of
negative curvature ends its iterations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp

from ....circuit import Circuit
from ..._adaptive_step_size import PerExample, ratio
from ..._field_checks import check_whole
from ..._iteration import repeat
from .._energy import AbstractEnergy, Settled
from ._abstract import AbstractInference, Budget


@final
@dataclass(frozen=True)
class ConjugateGradients(AbstractInference):
    """Newton's method on the errors: a numerical solver, not a biological mechanism.

    The `steps` of the rule are the iterations of conjugate gradients in each round; an
    iteration costs two forward and two backward passes. A single iteration is a
    gradient step of optimal size.

    Args:
      rounds: the number of steps of Newton's method.

    Example:
      >>> import apical
      >>> rule = apical.rules.PredictiveCoding(
      ...     steps=5, prediction="free", inference=apical.rules.ConjugateGradients()
      ... )

    Source: Hestenes & Stiefel 1952; Goemaere et al. 2026, ICML (errors as variables).
    """

    rounds: int = 2

    requires_prediction = "free"
    requires_derivative = True
    supports_free_arguments = True
    reaches_all_nodes = True
    needs = ("global error",)
    citation: ClassVar[str] = (
        "@article{hestenes1952methods, title={Methods of Conjugate Gradients for "
        "Solving Linear Systems}, author={Hestenes, Magnus R. and Stiefel, "
        "Eduard}, journal={Journal of Research of the National Bureau of "
        "Standards}, volume={49}, year={1952}}"
    )

    def __post_init__(self) -> None:
        check_whole(self.rounds, "rounds")

    def check(self, circuit: Circuit) -> None:
        """Require an axis of examples: step sizes are per example."""
        _ = circuit.example_axes

    def settle(self, energy: AbstractEnergy, budget: Budget) -> Settled:
        """Newton's method from errors of 0, and the free arguments as given."""
        errors = energy.in_error_space
        by_example = errors.by_example

        def advance(point: Any) -> Any:
            slope, product = jax.linearize(errors.slope, point)
            found = _solve(errors, by_example, product, slope, budget.steps)
            return jax.tree.map(jnp.subtract, point, found)

        point = errors.start
        for _ in range(self.rounds):
            point = advance(point)
        steps = self.rounds * budget.steps
        return errors.settled(point, errors.residual(point), steps)


# A curvature below this many rounding errors of the largest one counts as 0.
_ROUNDING = 32


class Iterate(NamedTuple):
    """One iteration: solution, residual, direction, and the residual's square.

    `largest` is the largest curvature so far; `going` whether iterations go on.
    """

    solution: Any
    residual: Any
    direction: Any
    square: jax.Array
    largest: jax.Array
    going: jax.Array


def _solve(
    energy: AbstractEnergy,
    by_example: PerExample,
    product: Any,
    right: Any,
    iterations: int,
) -> Any:
    """Solve `H x = right` for each example separately."""

    def advance(at: Iterate) -> Iterate:
        image = product(at.direction)
        along = by_example.dot(at.direction, image)
        size = by_example.dot(at.direction, at.direction)
        largest = jnp.maximum(at.largest, ratio(along, size, 0.0))
        # Where there is no positive curvature the example keeps its solution: a free
        # argument that changes nothing has none, and rounding must not move it.
        rounding = jnp.finfo(along.dtype).eps
        curved = along > _ROUNDING * rounding * largest * size
        # Nor does it move on once the residual is a rounding error.
        going = at.going & curved & (at.square > rounding**2 * first)
        length = jnp.where(going, ratio(at.square, along, 0.0), 0)
        solution = _plus(at.solution, by_example.times(length, at.direction))
        residual = _plus(at.residual, by_example.times(-length, image))
        square = by_example.dot(residual, residual)
        turn = ratio(square, at.square, 0.0)
        direction = _plus(residual, by_example.times(turn, at.direction))
        return Iterate(solution, residual, direction, square, largest, going)

    zeros = jax.tree.map(jnp.zeros_like, right)
    first = by_example.dot(right, right)
    going, none = jnp.ones_like(first, bool), jnp.zeros_like(first)
    begin = Iterate(zeros, right, right, first, none, going)
    return repeat(energy.circuit, advance, begin, iterations).solution


def _plus(one: Any, other: Any) -> Any:
    return jax.tree.map(jnp.add, one, other)
