"""Errors as variables: the equilibrium of free predictions, reached another way.

    E(e) = sum_n pi_n |e_n|^2 / 2 + pull L(v(e)),      v_n = p_n(v) + e_n

    e <- e - rate dE/de

The equilibrium is that of the values: dE/de = 0 where dE/dv = 0. But a signal reaches
all layers in one step, and as the curvature of one example is 1 plus a part of the
rank of its output, few steps are enough. The steps of Barzilai & Borwein measure it:

    rate = <s, y> / <y, y>,     s, y: the last change of e and of dE/de

for each example by itself, so that none depends on its batch. A step along which the
slope does not grow (<s, y> <= 0) has the first rate. In deep nets that have learned,
these steps alone overshoot, and none is made longer than a given norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..._adaptive_steps import PerExample, Tree, ratio
from ..._checks import check_positive, check_transformation, check_whole
from ..._iteration import repeat
from ..._numerics import relative_norm
from .._energy import Budget, Settled
from .._free_prediction import Free, FreeErrors
from ._gradient_descent import Relaxation


@dataclass(frozen=True)
class ErrorRelaxation:
    """Relax the errors in place of the values: a solver, not a mechanism.

    Each step is a forward pass and a global backward pass, so it is not local: it
    finds the equilibrium of the local dynamics sooner, on a computer. The first step
    has the rule's rate (by default 0.3).

    Args:
      optimizer: any optax transformation; None: steps of Barzilai & Borwein.
      longest: the norm, over all errors of an example, that no such step exceeds, in
        units of activities.

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

    def settle(self, energy: Free, budget: Budget) -> Settled:
        """Descend from no errors: from the feed-forward values."""
        by_example = PerExample.of(energy.circuit)
        steps = self.optimizer or barzilai_borwein(
            by_example, budget.rate, self.longest
        )
        return Relaxation(steps).settle(FreeErrors(energy.terms), budget)


class Memory(NamedTuple):
    """The last point and slope, and the number of steps taken."""

    point: Tree
    slope: Tree
    taken: jax.Array


def barzilai_borwein(
    by_example: PerExample, rate: Any, longest: float
) -> optax.GradientTransformation:
    """Steps of Barzilai & Borwein as a transformation: the first has the given rate."""

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


# ---- Conjugate gradients on the errors: Newton's method, each step solved inside.
#
#     H d = -dE/de,     H = d2E/de2,     e <- e + d
#
# H of one example is 1 (or pi) plus a part of the rank of its output where the network
# is linear, and there conjugate gradients are exact after one iteration more than the
# output has numbers. Each example has its own: a direction along which its energy
# curves
# down ends its iterations.


@dataclass(frozen=True)
class ConjugateGradients:
    """Newton's method on the errors: a solver, not a mechanism.

    The `steps` of the rule are the iterations of conjugate gradients in each round; an
    iteration costs two forward and two backward passes. A first iteration alone is a
    step down the slope of the best size.

    Args:
      rounds: how often the energy is expanded anew.

    Example:
      >>> import apical
      >>> rule = apical.rules.PredictiveCoding(
      ...     steps=5, prediction="free", inference=apical.rules.ConjugateGradients()
      ... )

    Source: Hestenes & Stiefel 1952; Goemaere et al. 2026, ICML (errors as variables).
    """

    rounds: int = 2

    citation: ClassVar[str] = (
        "@article{hestenes1952methods, title={Methods of Conjugate Gradients for "
        "Solving Linear Systems}, author={Hestenes, Magnus R. and Stiefel, "
        "Eduard}, journal={Journal of Research of the National Bureau of "
        "Standards}, volume={49}, year={1952}}"
    )

    def __post_init__(self) -> None:
        check_whole(self.rounds, "rounds")

    def settle(self, energy: Free, budget: Budget) -> Settled:
        """Newton's method from no errors."""
        errors, by_example = FreeErrors(energy.terms), PerExample.of(energy.circuit)

        def advance(point: Tree) -> Tree:
            slope, product = jax.linearize(errors.slope, point)
            found = _solve(energy, by_example, product, slope, budget.steps)
            return jax.tree.map(jnp.subtract, point, found)

        point = errors.start
        first = errors.slope(point)
        for _ in range(self.rounds):
            point = advance(point)
        residual = relative_norm(errors.slope(point), first)
        steps = self.rounds * budget.steps
        return errors.settled(point, residual, steps)


class Iterate(NamedTuple):
    """One iteration: solution, residual, direction, and the residual's square."""

    solution: Tree
    residual: Tree
    direction: Tree
    square: jax.Array


def _solve(
    energy: Free, by_example: PerExample, product: Any, right: Tree, iterations: int
) -> Tree:
    """`H x = right`, for each example by itself."""

    def advance(at: Iterate) -> Iterate:
        image = product(at.direction)
        curvature = by_example.dot(at.direction, image)
        # Where the energy curves down the example keeps what it has.
        length = ratio(at.square, curvature, 0.0)
        solution = _plus(at.solution, by_example.times(length, at.direction))
        residual = _plus(at.residual, by_example.times(-length, image))
        square = by_example.dot(residual, residual)
        turn = ratio(square, at.square, 0.0)
        direction = _plus(residual, by_example.times(turn, at.direction))
        return Iterate(solution, residual, direction, square)

    zeros = jax.tree.map(jnp.zeros_like, right)
    begin = Iterate(zeros, right, right, by_example.dot(right, right))
    return repeat(energy.circuit, advance, begin, iterations).solution


def _plus(one: Tree, other: Tree) -> Tree:
    return jax.tree.map(jnp.add, one, other)
