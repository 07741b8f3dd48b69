"""Networks whose hidden units send rates, spikes, or rates with dropout.

A unit has a rate p = sigmoid(z), and sends

    rates      p
    spikes     s, 1 with probability p, else 0
    dropout    p m / q,    m = 1 with probability q, else 0

all with the mean p. The variance of a spike is p (1 - p), that of dropout
p^2 (1 - q) / q. They are matched layer by layer, in each batch:

    (1 - q) / q = sum p (1 - p) / sum p^2

With a linear read-out of spikes and a squared error the loss has a closed form,

    E (s . w - y)^2 = (p . w - y)^2 + sum w^2 p (1 - p),

a penalty on weights, as dropout has one (Wager, Wang & Liang 2013).
"""

from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import apical
from apical import rules
from apical.lab.data._dataset import Data

RATES, SPIKES, DROPOUT = "rates", "spikes", "dropout"
KINDS = (RATES, SPIKES, DROPOUT)
BATCH = 16
Params = list[tuple[Array, Array]]


def expected_squared_error(p: Array, w: Array, y: Array) -> Array:
    """The mean squared error of a linear read-out of spikes, in closed form.

    Args:
        p: the probability of each spike `(units,)`.
        w: the weights `(units,)`.
        y: the target.
    """
    return (p @ w - y) ** 2 + jnp.sum(w**2 * p * (1 - p))


def kept_fraction(p: Array) -> Array:
    """The fraction that dropout keeps, so that its variance is that of spikes."""
    ratio = jnp.sum(p * (1 - p)) / jnp.sum(p**2)
    return jax.lax.stop_gradient(1 / (1 + ratio))


def dropped(p: Array, uniform: Array) -> Array:
    """Rates with dropout of the same variance as spikes."""
    kept = kept_fraction(p)
    return jnp.where(uniform < kept, p / kept, 0.0)


def logits(params: Params, x: Array, kind: str, uniforms: Any = ()) -> Array:
    """The logits of a network.

    Args:
        params: weights and biases of each layer.
        x: the input.
        kind: of units. Spikes are drawn by the rule, at a mark.
        uniforms: for dropout random numbers of each hidden layer.
    """
    *hidden, (w, b) = params
    for i, (weights, biases) in enumerate(hidden):
        x = jax.nn.sigmoid(x @ weights + biases)
        if kind == SPIKES:
            x = apical.bernoulli(x, f"layer_{i + 1}")
        elif kind == DROPOUT:
            x = dropped(x, uniforms[i])
    return x @ w + b


def new_params(key: Array, sizes: tuple[int, ...]) -> Params:
    """Normal weights of variance 1 / inputs, and biases of 0."""
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        (jax.random.normal(k, (m, n)) / m**0.5, jnp.zeros(n))
        for k, (m, n) in zip(keys, pairwise(sizes), strict=True)
    ]


class Runs(NamedTuple):
    """Arrays over the runs of a call: keys, examples, how many of them, step sizes."""

    keys: Array
    orders: Array
    counts: Array
    rates: Array


class Scores(NamedTuple):
    """Losses (nats) and accuracies with rates, over runs and parts of the images."""

    loss: Any
    accuracy: Any


class Trainer:
    """A compiled function that trains networks of one kind and width.

    Args:
        data: vectors; runs train on some of its training images.
        kind: of units.
        hidden: units of each hidden layer.
        updates: of Adam, each on `BATCH` of the examples in use.
    """

    def __init__(self, data: Data, kind: str, hidden: tuple[int, ...], updates: int):
        self._sizes = (data.train_x.shape[1], *hidden, data.classes)
        self._kind, self._hidden, self._updates = kind, hidden, updates
        self._x = jnp.concatenate([data.train_x, data.test_x])
        self._y = jnp.concatenate([data.train_y, data.test_y])
        self._run = jax.jit(jax.vmap(self._one, (0, None, None)))

    def __call__(self, runs: Runs) -> Scores:
        """Loss and accuracy of every image with rates `(runs, images)`."""
        return jax.device_get(self._run(runs, self._x, self._y))

    def _loss(self, params: Params, x: Array, y: Array, *uniforms: Array) -> Array:
        found = logits(params, x, self._kind, uniforms)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(found, y))

    def _one(self, run: Runs, images: Array, labels: Array) -> Scores:
        keys = jax.random.split(run.keys, 4)
        rule = (
            rules.StraightThrough() if self._kind == SPIKES else rules.Backpropagation()
        )
        step = apical.train_step(self._loss, rule, optax.adam(run.rates))
        params = new_params(keys[0], self._sizes)
        dropout = self._kind == DROPOUT
        units = sum(self._hidden) if dropout else 0

        def batch(drawn: Array) -> tuple[Array, ...]:
            of_examples, of_units = drawn[:, 0], drawn[:, 1:]
            place = (of_examples * run.counts).astype(int)
            chosen = run.orders[jnp.minimum(place, run.counts - 1)]
            cuts = np.cumsum(self._hidden)[:-1]
            masks = jnp.split(of_units, cuts, axis=1) if dropout else ()
            return images[chosen], labels[chosen], *masks

        def update(at: Any, key: Array) -> tuple[Any, None]:
            drawn = jax.random.uniform(key, (BATCH, 1 + units))
            params, state, _ = step(*at, *batch(drawn))
            return (params, state), None

        state = step.init(keys[1], params, *batch(jnp.zeros((BATCH, 1 + units))))
        every = jax.random.split(keys[2], self._updates)
        (params, _), _ = jax.lax.scan(update, (params, state), every)
        found = logits(params, images, RATES)
        losses = optax.softmax_cross_entropy_with_integer_labels(found, labels)
        return Scores(losses, found.argmax(-1) == labels)
