"""Equilibrium propagation, compared with as many forward passes as it takes steps.

A step of settling evaluates every synapse above the first once forward and once
backward to the units; the first synapse, which reads only the data, is evaluated once
in all. So all steps together should cost at most as many forward passes, plus a fifth,
if the first layer is at least as large as the others together.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from apical import rules

from . import _calls
from ._harness import Prepared, paired, prepare
from ._lines import Budget
from ._models import Model, multilayer_loss
from ._records import Record, timed

FREE, NUDGED = 30, 10
ESTIMATES = {"one-sided": FREE + NUDGED, "centred": FREE + 2 * NUDGED}


def models() -> Iterator[Model]:
    """The perceptrons of the literature."""
    yield _perceptron(784, 512, 10)
    yield _perceptron(784, 256, 256, 10)


def settled(model: Model, budget: Budget) -> Iterator[Record]:
    """30 + 10 steps, or 30 + 10 + 10, against that many forward passes."""
    for estimate, passes in ESTIMATES.items():
        rule = rules.EquilibriumPropagation(
            free_steps=FREE, nudged_steps=NUDGED, estimate=estimate
        )
        base = f"{passes} forward passes"
        calls = {
            estimate: _calls.learner(model, rule),
            base: _forward_passes(model, passes),
            "backprop": _calls.backprop(model),
        }
        timings = paired(calls, budget.rounds)
        what = f"equilibrium propagation, {estimate}"
        pair = (timings[estimate], timings[base])
        yield timed("equilibrium", model.name, what, pair, base, limit=1.20)
        pair = (timings[estimate], timings["backprop"])
        yield timed("equilibrium", model.name, what, pair)


def _forward_passes(model: Model, passes: int) -> Prepared:
    """Losses of one batch after another: each pass waits for the one before."""

    def run(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        def step(loss: jax.Array, _: None) -> tuple[jax.Array, None]:
            # The added value is 0, which the compiler cannot know.
            return model.loss(params, x + 1e-30 * loss, labels), None

        return lax.scan(step, jnp.zeros(()), length=passes)[0]

    return prepare(run, model.params, *model.args)


def _perceptron(*sizes: int) -> Model:
    draw = np.random.default_rng(0)
    params = [
        {
            "w": jnp.asarray(
                draw.normal(size=(rows, columns)) / rows**0.5, jnp.float32
            ),
            "b": jnp.zeros(columns),
        }
        for rows, columns in itertools.pairwise(sizes)
    ]
    x = jnp.asarray(draw.uniform(size=(50, sizes[0])), jnp.float32)
    labels = jnp.asarray(draw.integers(0, sizes[-1], 50))

    def loss(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        return multilayer_loss(params, x, labels, jax.nn.hard_sigmoid)

    return Model("-".join(map(str, sizes)), loss, params, (x, labels))
