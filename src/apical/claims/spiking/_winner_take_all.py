"""A winner-take-all network of spiking units, trained without or with labels.

    v_t = 0.9 v_{t-1} + x_t W                          x_t spikes, rate by pixel
    the unit with the largest v - theta spikes, if that is above 0; all v are then 0
    theta moves with the unit's own rate towards one rate for all

The label of a unit is the class to which it responds most over the *training* part; the
class of a test picture is the one whose units spike most, on average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import apical
from apical import rules
from apical.lab.data._load import Data

CLASSES = 10
BATCH = 32
_LEAK, _BRIGHTNESS = 0.9, 0.1
_SHARPNESS = 4.0  # of the softmax whose derivative stands for that of the winner
_TARGET, _THRESHOLD_RATE = 0.2, 0.01  # spikes of all units per step
_ASSIGNED = 10_000  # training pictures from which units get their labels
_AT_ONCE = 250


class Parts(NamedTuple):
    """Pictures as probabilities of a spike per step, and labels."""

    x: np.ndarray
    y: np.ndarray


def spike_probabilities(data: Data) -> tuple[Parts, Parts]:
    """Both parts of a data set; every picture has the same mean, 0.1 per step."""
    low, high = np.min(data.train_x), np.max(data.train_x)

    def prepared(x: np.ndarray) -> np.ndarray:
        flat = (x.reshape(len(x), -1) - low) / (high - low)
        mean = np.maximum(flat.mean(axis=1, keepdims=True), 1e-6)
        return np.clip(_BRIGHTNESS * flat / mean, 0, 1).astype(np.float32)

    train = Parts(prepared(data.train_x), data.train_y)
    return train, Parts(prepared(data.test_x), data.test_y)


# ---- The network.


@jax.custom_jvp
def spike(v: jax.Array) -> jax.Array:
    """1 where the potential is above 0; its derivative is that of a fast sigmoid."""
    return (v > 0).astype(v.dtype)


@spike.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (v,), (dv,) = primals, tangents
    return spike(v), dv / (1 + 5 * jnp.abs(v)) ** 2


def loss_fn(
    weights: jax.Array, theta: jax.Array, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The cross-entropy of the units' spike counts, and the counts.

    Unit i votes for class i modulo 10; only backpropagation reads this.

    Args:
        weights: `[pixels, units]`.
        theta: the threshold of each unit.
        x: spikes, `[steps, examples, pixels]`.
        y: labels.
    """
    units = weights.shape[1]

    def step(v: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        v = _LEAK * v + x @ weights
        over = v - theta
        hard = (over >= jnp.max(over, axis=-1, keepdims=True)).astype(v.dtype)
        soft = jax.nn.softmax(_SHARPNESS * over)
        wins = soft + jax.lax.stop_gradient(hard - soft)
        z = apical.node(spike(over) * wins, "winner")
        fired = jax.lax.stop_gradient(jnp.sum(z, axis=-1, keepdims=True))
        return v * (1 - fired), z

    start = jnp.zeros((x.shape[1], units), weights.dtype)
    _, z = jax.lax.scan(step, start, x)
    counts = jnp.sum(z, axis=0)
    votes = jax.nn.one_hot(jnp.arange(units) % CLASSES, CLASSES) * CLASSES / units
    losses = optax.softmax_cross_entropy_with_integer_labels(counts @ votes, y)
    return jnp.mean(losses), counts


def encoded(key: jax.Array, x: jax.Array, steps: int) -> jax.Array:
    """Independent spikes in each step, `[steps, examples, pixels]`."""
    draw = jax.random.uniform(key, (steps, *x.shape))
    return (draw < x).astype(jnp.float32)


# ---- Training.


class Recipe(NamedTuple):
    """How the weights change.

    Attributes:
        rule: of the weights.
        optimizer: without its step size.
        competes: whether weights stay above 0, with one sum for all units.
    """

    rule: rules.Rule
    optimizer: optax.GradientTransformation
    competes: bool


class Network(NamedTuple):
    """Weights and thresholds, and the optimiser's state."""

    weights: jax.Array
    theta: jax.Array
    optimizer: Any


def normalised(weights: jax.Array) -> jax.Array:
    """Weights of at least 0, whose sum is the same for each unit."""
    above = jnp.maximum(weights, 0.0)
    total = _BRIGHTNESS * len(weights)
    return total * above / jnp.maximum(jnp.sum(above, axis=0), 1e-6)


def trained(
    recipe: Recipe, train: Parts, units: int, steps: int, epochs: int
) -> Callable[[int, float], Iterator[Network]]:
    """A function of a seed and a step size: the network before and after each epoch.

    The step size falls linearly to 0.
    """
    learner = apical.value_and_grad(
        loss_fn, recipe.rule, has_aux=True, batch_axes=(None, 1, 0)
    )
    pixels, batches = train.x.shape[1], len(train.x) // BATCH
    start = jnp.zeros((pixels, units)), jnp.zeros(units)
    shapes = jnp.zeros((steps, BATCH, pixels)), jnp.zeros(BATCH, int)
    # No rule of this claim keeps a state from call to call.
    state = learner.init(jax.random.key(0), *start, *shapes)

    @jax.jit
    def update(net: Network, key: jax.Array, x: Any, y: Any, rate: Any) -> Network:
        credit = learner(net.weights, state, net.theta, encoded(key, x, steps), y)
        moves, optimizer = recipe.optimizer.update(
            credit.grads, net.optimizer, net.weights
        )
        weights = net.weights - rate * moves
        weights = normalised(weights) if recipe.competes else weights
        share = units * jnp.mean(credit.aux, axis=0) / steps
        theta = net.theta + _THRESHOLD_RATE * (share - _TARGET)
        return Network(weights, theta, optimizer)

    def run(seed: int, rate: float) -> Iterator[Network]:
        key = jax.random.key(seed)
        weights = normalised(jax.random.uniform(key, (pixels, units)))
        net = Network(weights, jnp.ones(units), recipe.optimizer.init(weights))
        yield net
        rng, done = np.random.default_rng(seed), 0
        for _ in range(epochs):
            order = rng.permutation(len(train.x))
            for first in range(0, batches * BATCH, BATCH):
                chosen = order[first : first + BATCH]
                left = 1 - done / (epochs * batches)
                now = jax.random.fold_in(key, done)
                x, y = train.x[chosen], train.y[chosen]
                net = update(net, now, x, y, rate * left)
                done += 1
            yield net

    return run


# ---- Labels of units, and accuracy.


def accuracy(net: Network, train: Parts, test: Parts, steps: int) -> float | None:
    """The accuracy on the test part; None where the weights are not finite."""
    if not bool(jnp.all(jnp.isfinite(net.weights))):
        return None
    seen = Parts(train.x[:_ASSIGNED], train.y[:_ASSIGNED])
    labels = unit_labels(responses(net, seen.x, steps, 1), seen.y)
    found = class_by_votes(responses(net, test.x, steps, 2), labels)
    return float(np.mean(found == test.y))


def unit_labels(counts: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The class to which each unit responds most, on average.

    Example:
        >>> counts = np.array([[3, 0], [1, 0], [0, 2]])
        >>> unit_labels(counts, np.array([7, 7, 4])).tolist()
        [7, 4]
    """
    means = [
        counts[y == label].mean(axis=0) if np.any(y == label) else 0 * counts[0]
        for label in range(CLASSES)
    ]
    return np.argmax(np.stack(means), axis=0)


def class_by_votes(counts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class whose units respond most, on average, to each picture.

    Example:
        >>> counts = np.array([[1, 1, 3], [2, 2, 3]])
        >>> class_by_votes(counts, np.array([5, 5, 8])).tolist()
        [8, 8]
    """
    votes = np.eye(CLASSES)[labels]
    return np.argmax(counts @ (votes / np.maximum(votes.sum(axis=0), 1)), axis=1)


def responses(net: Network, x: np.ndarray, steps: int, seed: int) -> np.ndarray:
    """The number of spikes of each unit for each picture."""
    found = []
    for first in range(0, len(x), _AT_ONCE):
        part = x[first : first + _AT_ONCE]
        padded = np.zeros((_AT_ONCE, x.shape[1]), x.dtype)
        padded[: len(part)] = part
        key = jax.random.fold_in(jax.random.key(seed), first)
        counts = _respond(net.weights, net.theta, key, padded, steps)
        found.append(np.asarray(counts)[: len(part)])
    return np.concatenate(found)


def _counts(weights: Any, theta: Any, key: Any, x: Any, steps: int) -> jax.Array:
    return loss_fn(weights, theta, encoded(key, x, steps), jnp.zeros(len(x), int))[1]


_respond = jax.jit(_counts, static_argnums=4)
