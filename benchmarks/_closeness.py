"""The time until an update is close to that of the equilibrium, against backprop.

    closeness = the smallest cosine over parameters to the update at the equilibrium

Networks of tanh, 128 wide, ten classes, cross-entropy that pulls with 1, on 128
handwritten digits; the equilibrium reached from the feed-forward start, in double
precision, to a relative residual of 1e-6. At initial weights, and after one epoch of
training by predictive coding itself.
"""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import apical
from apical import rules

from . import _calls
from ._harness import Prepared, paired
from ._lines import BASE, Budget
from ._models import Model, multilayer_loss
from ._records import Record, timed

DEPTHS = {4: 4.0, 8: 6.0, 20: 10.0}  # layers of weights: the limit of the ratio
CLOSE = 0.99
FAR = 0.95  # backprop must be farther away, or there is nothing to measure
_WIDTH, _BATCH, _RATE = 128, 128, 1e-3
_SETTLED = 1e-6
_ORDINARY = (20, 50, 100, 200, 400, 800, 1600)

WAYS = {
    "errors as variables": (
        rules.ErrorRelaxation(),
        None,
        tuple(range(1, 31)),
    ),
    "values, ordinary steps": (None, 0.1, _ORDINARY),
}


def models() -> Iterator[Model]:
    """Each depth, before and after an epoch."""
    images, labels = load_digits(return_X_y=True)
    x = jnp.asarray((images - images.mean()) / images.std(), jnp.float32)
    y = jnp.asarray(labels, jnp.int32)
    for depth in DEPTHS:
        params = _drawn(depth, x.shape[1])
        args = x[:_BATCH], y[:_BATCH]
        yield Model(f"tanh x {depth}, initial", _loss, params, args)
        after = _trained(params, x, y)
        yield Model(f"tanh x {depth}, one epoch", _loss, after, args)


_loss = partial(multilayer_loss, activation=jnp.tanh)


def _drawn(depth: int, inputs: int) -> Any:
    sizes = (inputs, *[_WIDTH] * (depth - 1), 10)
    draw = np.random.default_rng(0)
    return [
        {
            "w": jnp.asarray(draw.normal(size=(m, n)) / np.sqrt(m), jnp.float32),
            "b": jnp.zeros(n),
        }
        for m, n in itertools.pairwise(sizes)
    ]


def _free(steps: int, way: Any, rate: Any, tolerance: float = 0.0) -> Any:
    return rules.PredictiveCoding(
        steps, rate, "free", inference=way, tolerance=tolerance
    )


def _trained(params: Any, x: Any, y: Any) -> Any:
    rule = _free(30, rules.ErrorRelaxation(), None)
    step = apical.train_step(_loss, rule, optax.adam(_RATE))
    args = x[:_BATCH], y[:_BATCH]
    state = step.init(jax.random.key(0), params, *args)
    run = jax.jit(step)
    for i in range(len(x) // _BATCH):
        part = slice(i * _BATCH, (i + 1) * _BATCH)
        params, state, _ = run(params, state, x[part], y[part])
    return params


def measured(model: Model, budget: Budget) -> Iterator[Record]:
    """The ratio at the fewest steps that are close enough, for each method."""
    layers = len(model.params)
    goal = equilibrium(model)
    backprop = closeness(jax.grad(model.loss)(model.params, *model.args), goal)
    for what, (way, rate, counts) in WAYS.items():
        found = _fewest(model, goal, way, rate, counts)
        if found is None:
            note = f"not close after {counts[-1]} steps"
            yield Record("closeness", model.name, what, float("inf"), note=note)
            continue
        steps, call, close = found
        calls = {BASE: _calls.backprop(model), what: call}
        timings = paired(calls, budget.rounds)
        limit = DEPTHS[layers] if way is not None and backprop < FAR else None
        note = f"{steps} steps: {close:.4f}; backprop is at {backprop:.3f}"
        pair = timings[what], timings[BASE]
        yield timed("closeness", model.name, what, pair, limit=limit, note=note)


def equilibrium(model: Model) -> Any:
    """The update at the equilibrium, in double precision."""
    with jax.enable_x64(True):
        params, args = jax.tree.map(_double, (model.params, model.args))
        rule = _free(3000, rules.ErrorRelaxation(), 0.1, tolerance=_SETTLED)
        learner = apical.value_and_grad(model.loss, rule)
        credit = jax.jit(learner)(params, (), *args)
        if not credit.info.residual <= _SETTLED:
            raise RuntimeError(f"{model.name} did not settle: {credit.info.residual}")
        return jax.tree.map(np.asarray, credit.grads)


def _double(leaf: Any) -> Any:
    inexact = jnp.issubdtype(leaf.dtype, jnp.inexact)
    return jnp.asarray(np.asarray(leaf), float) if inexact else jnp.asarray(leaf)


def _fewest(
    model: Model, goal: Any, way: Any, rate: Any, counts: tuple[int, ...]
) -> tuple[int, Prepared, float] | None:
    for steps in counts:
        call = _calls.learner(model, _free(steps, way, rate))
        close = closeness(call().grads, goal)
        if close >= CLOSE:
            return steps, call, close
    return None


def closeness(grads: Any, goal: Any) -> float:
    """The smallest cosine over the parameters."""

    def cosine(one: Any, other: Any) -> float:
        a, b = np.ravel(np.asarray(one, float)), np.ravel(other)
        norms = np.linalg.norm(a) * np.linalg.norm(b)
        return float(a @ b / norms) if 0 < norms < np.inf else -1.0

    return min(jax.tree.leaves(jax.tree.map(cosine, grads, goal)))
