"""Trainings that are looked at until an accuracy is reached, several in one call."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import apical
from apical import rules
from apical.lab.data._dataset import Data

BACKPROP, EVOLUTION = "backprop", "evolution strategy"
PAIRS, BATCH = 16, 64
WANTED = 85.0  # percent of the test images
# A backward pass counts as two evaluations of the loss, by its operations.
EVALUATIONS = {BACKPROP: 3, EVOLUTION: 2 * PAIRS}

Params = tuple[Array, Array]


def network(params: Params, x: Array) -> Array:
    """The logits of a tanh layer without biases."""
    return jnp.tanh(x @ params[0]) @ params[1]


def loss_fn(params: Params, x: Array, y: Array) -> Array:
    """The cross-entropy."""
    found = network(params, x)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(found, y))


class Lanes(NamedTuple):
    """Arrays over the lanes of a call: keys, step sizes, sizes of the noise."""

    keys: Array
    rates: Array
    noise: Any


class Reached(NamedTuple):
    """By lane the updates until the accuracy (inf: not reached), and the last one."""

    updates: np.ndarray
    accuracy: np.ndarray


class Race:
    """A compiled training by one rule, which is looked at until it is good enough.

    Args:
        data: vectors.
        rule: backpropagation, or the evolution strategy.
        hidden: units of the hidden layer.
        look: updates between two looks.
    """

    def __init__(self, data: Data, rule: str, hidden: int, look: int):
        self._data = jax.tree.map(jnp.asarray, data[2:6])
        self._evolves, self._look = rule == EVOLUTION, look
        self._sizes = (data.train_x.shape[1], hidden, data.classes)
        self._begin = jax.jit(jax.vmap(self._begun))
        self._advance = jax.jit(jax.vmap(self._advanced))

    @property
    def parameters(self) -> int:
        """The number of weights."""
        inputs, hidden, classes = self._sizes
        return hidden * (inputs + classes)

    def __call__(self, lanes: Lanes, most: int, first: bool = False) -> Reached:
        """Train until all lanes are good enough, or one.

        Args:
            lanes: of the call.
            most: updates.
            first: whether one lane is enough.
        """
        at = self._begin(lanes)
        reached = np.full(len(lanes.rates), np.inf)
        accuracy = np.zeros(len(reached))
        for updates in range(self._look, most + 1, self._look):
            at, found = self._advance(at, lanes)
            accuracy = 100 * np.asarray(found)
            reached = np.where(
                accuracy >= WANTED, np.minimum(reached, updates), reached
            )
            good = np.isfinite(reached)
            if good.all() or (first and good.any()):
                break
        return Reached(reached, accuracy)

    def _step(self, lane: Lanes) -> Any:
        rule = rules.Backpropagation()
        if self._evolves:
            rule = rules.EvolutionStrategy(noise=lane.noise, pairs=PAIRS)
        return apical.train_step(loss_fn, rule, optax.sgd(lane.rates))

    def _batch(self, key: Array) -> tuple[Array, Array]:
        x, y = self._data[:2]
        rows = jax.random.randint(key, (BATCH,), 0, len(x))
        return x[rows], y[rows]

    def _begun(self, lane: Lanes) -> Any:
        keys = jax.random.split(lane.keys, 4)
        inputs, hidden, classes = self._sizes
        params = (
            jax.random.normal(keys[0], (inputs, hidden)) / inputs**0.5,
            jax.random.normal(keys[1], (hidden, classes)) / hidden**0.5,
        )
        state = self._step(lane).init(keys[2], params, *self._batch(keys[2]))
        return params, state, keys[3]

    def _advanced(self, at: Any, lane: Lanes) -> tuple[Any, Array]:
        step = self._step(lane)

        def update(at: Any, _: None) -> tuple[Any, None]:
            params, state, key = at
            key, now = jax.random.split(key)
            params, state, _ = step(params, state, *self._batch(now))
            return (params, state, key), None

        at, _ = jax.lax.scan(update, at, length=self._look)
        x, y = self._data[2:]
        return at, jnp.mean(network(at[0], x).argmax(-1) == y)
