"""Trainings of a small network on a few examples by any rule, several in one call."""

from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import apical
from apical.lab._rule_spec import RuleSpec
from apical.lab.data._dataset import Data
from apical.lab.data._labels import labels_of
from apical.lab.models._mlp import MLP
from apical.lab.training._loss import Loss

BATCH = 16
EARLIER = 0.8  # of training, where it is scored as well
_ANY_RATE = 1e-3  # in `init`: some rules look at the rate there


class Examples(NamedTuple):
    """The examples of a run: their places among all images, those in use first.

    Attributes:
        order: places of training images `(training images,)`.
        number: how many of the first are in use.
    """

    order: np.ndarray
    number: int


class Runs(NamedTuple):
    """Arrays over the runs of a call: keys, examples, step sizes, numbers of the rule.

    Attributes:
        keys: of weights, batches and the rule.
        orders: of each run's examples.
        counts: how many of them are in use.
        rates: of Adam.
        numbers: of the rule, in place of its defaults.
    """

    keys: Array
    orders: Array
    counts: Array
    rates: Array
    numbers: dict[str, Array]


class Answers(NamedTuple):
    """Whether the class of every image is right `(runs, images)`, training ones first.

    Attributes:
        earlier: before the last fifth of training.
        ended: at the end.
    """

    earlier: Any
    ended: Any


class FewExamples:
    """A compiled function that trains by one rule, whatever the number of examples.

    Args:
        data: vectors.
        spec: the rule.
        hidden: units of each hidden layer.
        updates: of a training, each on `BATCH` of the examples in use, drawn anew.
    """

    def __init__(
        self, data: Data, spec: RuleSpec, hidden: tuple[int, ...], updates: int
    ):
        self._sizes = (data.train_x.shape[1], *hidden, data.classes)
        self._spec, self._data, self._updates = spec, data, updates
        self._x = jnp.concatenate([data.train_x, data.test_x])
        self._y = jnp.concatenate([data.train_y, data.test_y])
        self._run = jax.jit(jax.vmap(self._one, (0, None, None)))

    def __call__(self, runs: Runs) -> Answers:
        """The answers of the trained networks; wrong where a network diverged."""
        return jax.device_get(self._run(runs, self._x, self._y))

    def _one(self, run: Runs, x: Array, y: Array) -> Answers:
        keys = jax.random.split(run.keys, 3)
        model = MLP(self._sizes, keys[0])
        params, static = eqx.partition(model, eqx.is_array)
        loss = Loss(static, labels_of(self._data))

        def step_at(rate: Any) -> Any:
            rule = replace(self._spec.make(), **run.numbers)
            return apical.train_step(
                loss.training, rule, optax.adam(rate), **loss.setting
            )

        first = run.orders[:BATCH]
        batch = None, x[first], y[first]
        state = step_at(_ANY_RATE).init(keys[1], params, *batch)
        step = step_at(run.rates)

        def update(at: Any, drawn: Array) -> tuple[Any, None]:
            # `drawn` is below 1, its product with the count may round up to it.
            place = jnp.minimum((drawn * run.counts).astype(int), run.counts - 1)
            chosen = run.orders[place]
            params, state, _ = step(*at, None, x[chosen], y[chosen])
            return (params, state), None

        def answers(at: Any) -> Array:
            outputs = step.predict(*at, None, x, y)
            known = jnp.all(jnp.isfinite(outputs))
            return known & (outputs.argmax(-1) == y)

        drawn = jax.random.uniform(keys[2], (self._updates, BATCH))
        cut = int(EARLIER * self._updates)
        middle, _ = jax.lax.scan(update, (params, state), drawn[:cut])
        end, _ = jax.lax.scan(update, middle, drawn[cut:])
        return Answers(answers(middle), answers(end))


# ---- Subsets and folds


def drawn_examples(seed: int, number: int, among: int) -> Examples:
    """Examples that are drawn for a seed; of fewer ones the same first."""
    return Examples(np.random.default_rng(seed).permutation(among), number)


def folds_of(examples: Examples, folds: int) -> list[tuple[Examples, np.ndarray]]:
    """For each fold the examples outside it, and the places of those within it."""
    used = examples.order[: examples.number]
    rest = examples.order[examples.number :]
    parts = np.array_split(np.arange(len(used)), folds)
    found = []
    for part in parts:
        kept = np.delete(used, part)
        order = np.concatenate([kept, used[part], rest])
        found.append((Examples(order, len(kept)), used[part]))
    return found
