"""Targets and synthetic gradients: the cost of a call and its lower bound.

Per call, in multiply-adds of `_count.work` (F forward, U its part above the first
nodes, D cotangents of activities, W of parameters):

    backpropagation                          F + D + W
    targets, inverses fixed                  F + 2 D + W
        once for the reconstructions of the values, once for the targets
    one step of noise reconstruction         + U + 2 D
        up from the noisy values, back, and the product for the inverse's weights
    one step of difference reconstruction    + U + 6 D
        back from three places, each with its product
    synthetic gradients, linear critics      F + D + W + 2 sum over nodes of n^2
        the output of each critic, and the product for its weights

Random numbers are not multiply-adds but take time: drawing the noise is timed
separately and added, once for noise reconstruction and twice for the other.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax

import apical
from apical import rules

from . import _calls
from ._count import Work, work
from ._harness import Prepared, paired, prepare
from ._lines import BASE, Budget, attempted
from ._models import Model
from ._records import Record, timed

# The largest ratio of the cost of a call to its multiply-adds.
MARGIN = 1.2
SYNTHETIC_LIMIT = 1.5
NOISE = "the noise alone"
# How often a call draws noise of the shape of every place.
DRAWS = {"targets, noise reconstruction": 1, "targets, difference reconstruction": 2}
RULES: dict[str, Any] = {
    "targets, fixed inverses": rules.DifferenceTargetPropagation(training=None),
    "targets, noise reconstruction": rules.DifferenceTargetPropagation(),
    "targets, difference reconstruction": rules.DifferenceTargetPropagation(
        training=rules.DifferenceReconstruction()
    ),
    "synthetic gradients": rules.SyntheticGradients(),
}


def targets(model: Model, budget: Budget) -> Iterator[Record]:
    """Each rule relative to backprop, and its lower bound."""
    calls = {BASE: _calls.backprop(model)}
    for what, rule in RULES.items():
        make = partial(_calls.learner, model, rule)
        yield from attempted(calls, "targets", model.name, what, make)
    timings = paired({**calls, NOISE: _noise(model)}, budget.rounds)
    noise = timings[NOISE].ratio(timings[BASE])[1]
    bounds = _bounds(model, work(model.loss, model.params, *model.args))
    for what in list(calls)[1:]:
        bound = bounds[what] + DRAWS.get(what, 0) * noise
        pair = (timings[what], timings[BASE])
        synthetic = what == "synthetic gradients"
        limit = SYNTHETIC_LIMIT if synthetic else MARGIN * bound
        yield timed("targets", model.name, what, pair, limit=limit, bound=bound)


def _noise(model: Model) -> Prepared:
    nodes = apical.trace(model.loss)(model.params, *model.args).nodes

    def draw(key: jax.Array) -> list[jax.Array]:
        keys = jax.random.split(key, len(nodes))
        return [jax.random.normal(k, n.shape) for k, n in zip(keys, nodes, strict=True)]

    return prepare(draw, jax.random.key(0))


def _bounds(model: Model, least: Work) -> dict[str, float]:
    """The lower bounds by multiply-adds, in backprops."""
    sent = least.backprop + least.data
    counts = {
        "targets, fixed inverses": sent,
        "targets, noise reconstruction": sent + least.upper + 2 * least.data,
        "targets, difference reconstruction": sent + least.upper + 6 * least.data,
        "synthetic gradients": least.backprop + 2 * _critics(model),
    }
    return {what: count / least.backprop for what, count in counts.items()}


def _critics(model: Model) -> int:
    """Multiply-adds of all linear critics."""
    nodes = apical.trace(model.loss)(model.params, *model.args).nodes
    return sum(math.prod(node.shape) * node.shape[-1] for node in nodes)
