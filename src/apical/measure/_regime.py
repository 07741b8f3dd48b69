"""The regime of predictive coding: convergence of inference, and similarity of updates.

    stiffness = rate * largest eigenvalue of d2E/dv2

| stiffness | steps of this rate                                               |
|-----------|------------------------------------------------------------------|
| >= 2      | diverge: along the steepest direction the error grows            |
| < 2       | settle, faster if rate times the other eigenvalues is close to 1 |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..circuit import Circuit
from ..rules import ErrorRelaxation, PredictiveCoding
from ..rules._adaptive_step_size import PerExample, ratio
from ..rules._learner import Learner
from ..rules.tools import AbstractEnergy
from ._agreement import agreement
from ._learner_argument import takes_learner

_POWER_STEPS = 30
_REST = 1e-4  # the residual that defines the equilibrium
_REST_STEPS = 200
_AWAY = 2.0  # a residual above this diverges; a single step may already exceed 1
_ALIKE = 0.99  # the cosine of "backprop-like", if there is no equilibrium


class Regime(NamedTuple):
    """The regime of inference, and the similarity of its update to two references.

    Attributes:
      residual: the norm of dE/dv at the last step, relative to the first.
      energy: the energy of each node, by name.
      stiffness: the step size times the largest curvature of any example; NaN if the
        steps have no single size, or do not update all values at once.
      to_backpropagation: the cosine of the update with that of backpropagation, for all
        parameters as one vector (so relative sizes of layers matter).
      to_equilibrium: the cosine with the update at the equilibrium; NaN if that was not
        found.
      steps: `"stable"`, `"slow"` (they have not settled) or `"diverging"`.
      update: `"at equilibrium"`, `"backprop-like"` (closer to backpropagation than to
        the equilibrium; if that is not known, a cosine above 0.99) or `"partial"`.
    """

    residual: float
    energy: dict[str, float]
    stiffness: float
    to_backpropagation: float
    to_equilibrium: float
    steps: str
    update: str


@takes_learner
def regime(learner: Learner) -> Callable[..., Regime]:
    """Measure whether inference settles, and whether its update is backpropagation's.

    Args:
      learner: what `apical.value_and_grad` returned for predictive coding with free
        predictions, or `step.learner` of a training step.

    Returns:
      A function of `(params, state, *args)` that returns a `Regime`. `state` is the
      rule's state, of `learner.init` or `state.rule` of a training step.

    Raises:
      TypeError: for a loss function or a rule in place of a learner.
      ValueError: for other rules, and for fixed predictions, whose curvature is 1 and
        whose equilibrium is backpropagation.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.PredictiveCoding(50, 0.2, "free")
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> found = apical.measure.regime(learner)(w, (), x)
      >>> found.steps, found.update
      ('stable', 'at equilibrium')

    Source: Goemaere et al. 2026, ICML (few steps are backpropagation scaled); Innocenti
    et al. 2025, arXiv:2505.13124 (the conditioning of inference).
    """
    rule = learner.rule
    if not isinstance(rule, PredictiveCoding) or rule.prediction != "free":
        raise ValueError(
            "`regime` is about `PredictiveCoding(prediction='free')`: with fixed "
            "predictions the curvature is 1 and the rest is backpropagation, and other "
            f"rules have no energy that settles; this is {rule!r}."
        )
    if rule.free is not None:
        raise ValueError(
            "`regime` is about the values of nodes alone: leave `free` at None. How "
            "far free arguments are from equilibrium is in `credit.info`."
        )
    resting = learner.with_rule(_to_rest(rule)) if _has_rest(rule) else None

    @jax.jit
    def measured(key: jax.Array, params: Any, state: Any, *args: Any) -> Any:
        circuit = learner.circuit(params, *args)
        credit = learner(params, state, *args)
        truth = rule.reference(circuit, params, state, args)
        bound = rest = None
        if rule.step_size is not None and rule.inference is None:
            energy = rule.energy(circuit, params, state, args)
            bound = rule.step_size * _curvature(energy, key)
        if resting is not None:
            goal = resting(params, state, *args)
            cosine = _cosine(circuit, credit.grads, goal.grads)
            rest = cosine, goal.info.residual <= _REST
        cosine = _cosine(circuit, credit.grads, truth)
        return credit.info.residual, credit.info.energy, bound, cosine, rest

    def tell(params: Any, state: Any, *args: Any) -> Regime:
        # The key is an argument: the compiler takes minutes to fold a constant one.
        key = jax.random.key(0)
        residual, energy, bound, cosine, rest = measured(key, params, state, *args)
        return _classified(
            float(residual),
            {name: float(value) for name, value in energy.items()},
            math.nan if bound is None else float(bound),
            float(cosine),
            float(rest[0]) if rest is not None and rest[1] else math.nan,
        )

    return tell


def _has_rest(rule: PredictiveCoding) -> bool:
    """Whether inference ends at the minimum of an energy."""
    return rule.derivative and rule.feedback is None


def _to_rest(rule: PredictiveCoding) -> PredictiveCoding:
    """The same rule with enough steps to settle."""
    return replace(
        rule,
        rate=None,
        inference=ErrorRelaxation(),
        steps=_REST_STEPS,
        tolerance=_REST,
    )


def _classified(
    residual: float,
    energy: dict[str, float],
    stiffness: float,
    to_backpropagation: float,
    to_equilibrium: float,
) -> Regime:
    if stiffness >= 2 or not np.isfinite(residual) or residual > _AWAY:
        steps = "diverging"
    else:
        steps = "stable" if residual < 1e-3 else "slow"
    if steps == "stable":
        update = "at equilibrium"
    else:
        bound = _ALIKE if np.isnan(to_equilibrium) else to_equilibrium
        update = "backprop-like" if to_backpropagation > bound else "partial"
    return Regime(
        residual,
        energy,
        stiffness,
        to_backpropagation,
        to_equilibrium,
        steps,
        update,
    )


def _cosine(circuit: Circuit, one: Any, other: Any) -> jax.Array:
    pairs = (circuit.leaves.split(one)[0], circuit.leaves.split(other)[0])
    return agreement(*pairs).cosine


def _curvature(energy: AbstractEnergy, key: jax.Array) -> jax.Array:
    """The largest eigenvalue of d2E/dv2 of any example, by the power method."""
    circuit = energy.circuit
    by_example = PerExample.of(circuit)
    keys = jax.random.split(key, len(circuit.nodes))
    start = {
        n.name: jax.random.normal(key, n.shape, n.dtype)
        for n, key in zip(circuit.nodes, keys, strict=True)
    }

    _, product = jax.linearize(energy.slope, energy.start)

    def step(carry: Any, _: Any) -> Any:
        vector, _ = carry
        image = product(vector)
        size = jnp.sqrt(by_example.dot(image, image))
        unit = by_example.times(ratio(jnp.ones_like(size), size, 0.0), image)
        return (unit, size), None

    norm = jnp.sqrt(by_example.dot(start, start))
    begin = by_example.times(1 / norm, start), norm
    (_, largest), _ = jax.lax.scan(step, begin, length=_POWER_STEPS)
    return jnp.max(largest)
