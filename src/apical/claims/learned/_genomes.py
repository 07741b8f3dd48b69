"""Genomes: small networks that write the weights of a large one.

    w_ij = g(tag_i, tag_j) / sqrt(inputs)

A tag has the place of a unit as binary digits of ±1: of a pixel its row and its column,
of another unit its number. g has two tanh layers of a few units, one g for each layer
of weights; its numbers are the genome. A network lives by gradient descent from the
weights that its genome wrote. Source: Shuvaev, Lachi, Koulakov & Zador 2024, PNAS, from
memory.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

Genome = list[dict[str, Array]]
Weights = list[Array]
BATCH = 64


# ---- Growth


def binary_digits(number: int) -> np.ndarray:
    """The digits of the numbers below this one, as ±1 `(number, digits)`.

    Example:
        >>> binary_digits(3).tolist()
        [[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]
    """
    digits = max(1, (number - 1).bit_length())
    bits = np.arange(number)[:, None] >> np.arange(digits) & 1
    return 2.0 * bits - 1.0


def tags_of(sizes: Sequence[int]) -> list[Array]:
    """The tags of the pixels of a square image, and of the units of other layers."""
    side = round(sizes[0] ** 0.5)
    if side**2 != sizes[0]:
        raise ValueError(f"`sizes` begins with {sizes[0]}, which is no square image.")
    one = binary_digits(side)
    rows, columns = np.repeat(one, side, axis=0), np.tile(one, (side, 1))
    pixels = np.concatenate([rows, columns], axis=1)
    others = [binary_digits(n) for n in sizes[1:]]
    return [jnp.asarray(tag, jnp.float32) for tag in (pixels, *others)]


def new_genome(key: Array, sizes: Sequence[int], hidden: int) -> Genome:
    """Normal numbers of variance 1 / inputs, and biases of 0."""
    tags = tags_of(sizes)
    genome = []
    for k, (before, after) in zip(
        jax.random.split(key, len(sizes) - 1), pairwise(tags), strict=True
    ):
        keys, inputs = jax.random.split(k, 4), before.shape[1] + after.shape[1]
        shapes = {
            "before": (before.shape[1], hidden),
            "after": (after.shape[1], hidden),
            "middle": (hidden, hidden),
            "last": (hidden, 1),
        }
        inward = {"before": inputs, "after": inputs, "middle": hidden, "last": hidden}
        gene = {
            name: jax.random.normal(each, shape) / inward[name] ** 0.5
            for each, (name, shape) in zip(keys, shapes.items(), strict=True)
        }
        biases = {"first_bias": hidden, "middle_bias": hidden, "last_bias": 1}
        genome.append(gene | {name: jnp.zeros(n) for name, n in biases.items()})
    return genome


def grow(genome: Genome, tags: Sequence[Array]) -> Weights:
    """The weights that a genome writes."""

    def between(g: dict[str, Array], before: Array, after: Array) -> Array:
        # The first layer on a pair of tags is a sum of two parts.
        first = (before @ g["before"])[:, None] + after @ g["after"] + g["first_bias"]
        middle = jnp.tanh(first) @ g["middle"] + g["middle_bias"]
        last = jnp.tanh(middle) @ g["last"] + g["last_bias"]
        return last[..., 0] / len(before) ** 0.5

    pairs = zip(genome, pairwise(tags), strict=True)
    return [between(g, *pair) for g, pair in pairs]


def count(tree: Any) -> int:
    """How many numbers there are."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# ---- The network and its life


def new_weights(key: Array, sizes: Sequence[int]) -> Weights:
    """Normal weights of variance 1 / inputs, without a genome."""
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        jax.random.normal(k, pair) / pair[0] ** 0.5
        for k, pair in zip(keys, pairwise(sizes), strict=True)
    ]


def network(weights: Weights, x: Array) -> Array:
    """The logits: tanh layers without biases."""
    *hidden, readout = weights
    for w in hidden:
        x = jnp.tanh(x @ w)
    return x @ readout


def loss(weights: Weights, x: Array, y: Array) -> Array:
    """The cross-entropy."""
    found = network(weights, x)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(found, y))


def accuracy(weights: Weights, x: Array, y: Array) -> Array:
    """The share of images whose class is right."""
    return jnp.mean(network(weights, x).argmax(-1) == y)


def live(weights: Weights, rate: Any, batches: tuple[Array, Array]) -> Weights:
    """The weights after one step of gradient descent for each batch."""

    def step(weights: Weights, batch: tuple[Array, Array]) -> tuple[Weights, None]:
        slopes = jax.grad(loss)(weights, *batch)
        return jax.tree.map(lambda w, g: w - rate * g, weights, slopes), None

    return jax.lax.scan(step, weights, batches)[0]


def drawn_batches(key: Array, x: Array, y: Array, steps: int) -> tuple[Array, Array]:
    """Batches of images, drawn with replacement `(steps, batch, ...)`."""
    rows = jax.random.randint(key, (steps, BATCH), 0, len(x))
    return x[rows], y[rows]


def accuracies_of_a_life(
    weights: Weights,
    key: Array,
    rates: Array,
    steps: Sequence[int],
    train: tuple[Array, Array],
    tests: Sequence[tuple[Array, Array]],
) -> Array:
    """The accuracies after some steps of lives at several rates.

    Args:
        weights: at birth.
        key: of the batches, which are the same at all rates.
        rates: of gradient descent.
        steps: after how many steps, increasing; 0 is birth.
        train: images and labels to learn from.
        tests: images and labels to score with.

    Returns:
        The accuracies `(steps, rates, tests)`.
    """
    keys = jax.random.split(key, len(steps))

    def scores(weights: Weights) -> Array:
        return jnp.stack([accuracy(weights, *test) for test in tests])

    birth = jnp.broadcast_to(scores(weights), (len(rates), len(tests)))

    def one(rate: Array) -> list[Array]:
        now, before, found = weights, 0, []
        for each, after in zip(keys, steps, strict=True):
            if after > before:
                now = live(now, rate, drawn_batches(each, *train, after - before))
                found.append(scores(now))
            before = after
        return found

    later = jax.lax.map(one, rates)
    return jnp.stack([birth, *later] if steps[0] == 0 else later)
