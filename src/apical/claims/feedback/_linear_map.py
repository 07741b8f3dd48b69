"""A linear net that learns a linear map from single examples (Lillicrap et al. 2016).

y = T x,    y' = W W0 x,    x ~ N(0, 1) of 30, through 20, to 10

error = |T - W W0|^2 / |T|^2      the squared error over that of the answer 0
angle                             between the updates of W0 and backpropagation's
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import apical
from apical import rules
from apical.claims.feedback._lillicrap2016 import FEEDBACK, RULES
from apical.lab._registry import BASELINE
from apical.lab.storage._jsonl import Line
from apical.lab.training._tuning import SEEDS

_INPUTS, _HIDDEN, _OUTPUTS = 30, 20, 10
_POINTS = 40  # measured over training
RATES = tuple(np.geomspace(5e-4, 5e-2, 16).tolist())


class Course(NamedTuple):
    """Error and angle (degrees) over training, `(points,)` each."""

    error: jax.Array
    angle: jax.Array


def learn_linear_map(seeds: int, steps: int, name: str = "linear") -> list[Line]:
    """Train with every rule at the best of 16 step sizes, and measure during training.

    Args:
        seeds: their number; seeds are 0, 1, ...
        steps: the number of examples, at least 40.
        name: the field `part` of the lines.
    """
    found = []
    for rule in RULES:
        trials = _trials(rule, steps)
        (rate,) = (trial["learning_rate"] for trial in trials if trial["chosen"])
        courses = _courses(rule, range(seeds), [rate] * seeds, steps)
        found += _lines(name, rule, rate, courses, steps)
        found += [{"part": name, "rule": rule, **trial} for trial in trials]
    return found


def _trials(rule: str, steps: int) -> list[Line]:
    """Every step size with its final error, for a seed that is not reported."""
    courses = _courses(rule, SEEDS[:1] * len(RATES), RATES, steps)
    last = np.asarray(courses.error[:, -1])
    best = int(np.argmin(np.where(np.isfinite(last), last, np.inf)))
    return [
        {
            **{"trial": i, "learning_rate": rate, "numbers": "{}"},
            **{"error": float(last[i]) if math.isfinite(last[i]) else None},
            **{"chosen": i == best},
        }
        for i, rate in enumerate(RATES)
    ]


def at_an_end(lines: Iterable[Line]) -> tuple[str, ...]:
    """The rules that won at an end of the range of step sizes, in words."""
    rates = {line["rule"]: line["learning_rate"] for line in lines}
    return tuple(
        f"on the linear map the best step size of {rule} is an end of what was tried "
        f"({rates[rule]:.2g})"
        for rule in (BASELINE, FEEDBACK)
        if rates.get(rule) in (RATES[0], RATES[-1])
    )


class _Start(NamedTuple):
    """The map, initial parameters, state and examples of a seed."""

    target: jax.Array
    params: Any
    state: Any
    examples: jax.Array  # (points, examples between two of them, 1, inputs)


def _courses(
    rule: str, seeds: Iterable[int], rates: Iterable[float], steps: int
) -> Course:
    learner = apical.value_and_grad(_loss, RULES[rule])
    keys = jax.vmap(jax.random.key)(jnp.asarray(list(seeds)))
    # Not compiled with the training: drawing random numbers compiles slowly.
    starts = jax.vmap(lambda key: _start(learner, RULES[rule], key, steps))(keys)
    train = jax.jit(jax.vmap(lambda start, rate: _train(learner, start, rate)))
    return train(starts, jnp.asarray(list(rates)))


def _start(learner: Any, rule: rules.Rule, key: Any, steps: int) -> _Start:
    keys = jax.random.split(key, 6)
    target = _uniform(keys[0], 1.0, _INPUTS, _OUTPUTS)
    params = {
        "hidden": _uniform(keys[1], 0.01, _INPUTS, _HIDDEN),
        "readout": _uniform(keys[2], 0.01, _HIDDEN, _OUTPUTS),
    }
    examples = jax.random.normal(keys[3], (_POINTS, steps // _POINTS, 1, _INPUTS))
    state = learner.init(keys[4], params, examples[0, 0], examples[0, 0] @ target)
    if isinstance(rule, rules.FeedbackAlignment):
        feedback = _uniform(keys[5], 0.5, _HIDDEN, _OUTPUTS)
        state = state._replace(feedback=state.feedback | {"readout": feedback})
    return _Start(target, params, state, examples)


def _train(learner: Any, start: _Start, rate: Any) -> Course:
    target = start.target

    def step(params: Any, x: Any) -> Any:
        grads = learner(params, start.state, x, x @ target).grads
        exact = jax.grad(_loss)(params, x, x @ target)
        moved = jax.tree.map(lambda w, g: w - rate * g, params, grads)
        return moved, _cosine(grads["hidden"], exact["hidden"])

    def part(params: Any, x: Any) -> Any:
        params, cosines = jax.lax.scan(step, params, x)
        away = target - params["hidden"] @ params["readout"]
        angle = jnp.degrees(jnp.arccos(jnp.clip(cosines, -1, 1))).mean()
        return params, Course(jnp.sum(away**2) / jnp.sum(target**2), angle)

    return jax.lax.scan(part, start.params, start.examples)[1]


def _loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum((x @ params["hidden"] @ params["readout"] - y) ** 2) / len(x)


def _uniform(key: Any, size: float, *shape: int) -> jax.Array:
    return jax.random.uniform(key, shape, minval=-size, maxval=size)


def _cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a * b) / jnp.sqrt(jnp.sum(a**2) * jnp.sum(b**2))


def _lines(
    name: str, rule: str, rate: float, courses: Course, steps: int
) -> Iterable[Line]:
    for seed, (errors, angles) in enumerate(
        zip(*map(np.asarray, courses), strict=True)
    ):
        for point, (error, angle) in enumerate(zip(errors, angles, strict=True), 1):
            lost = not math.isfinite(error)
            yield {
                "part": name,
                "rule": rule,
                "learning_rate": rate,
                "seed": seed,
                "epoch": point * (steps // _POINTS),
                "epochs": _POINTS * (steps // _POINTS),
                "status": "diverged" if lost else "ok",
                "error": None if lost else float(error),
                "angle": None if math.isnan(angle) else float(angle),
            }
