"""A Hopfield network that learns patterns, dreams, and recalls.

    energy      E(s) = -s W s / 2,      s of -1 and 1, no unit acts on itself
    learning    W = sum_p s_p s_p^T / n                       (Hopfield 1982)
    dreaming    W <- W - strength * sum_d s_d s_d^T / n       (Hopfield et al. 1983)

A dream d is where the network settles from a random state. Learning descends the energy
of the patterns, dreaming ascends that of the dreams.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

SWEEPS, FLIPPED, DREAMS, STRENGTH = 10, 0.05, 20, 0.01
SETTLED, RANDOM = "dreams", "random states"


class Recall(NamedTuple):
    """What a network recalls after each night.

    Attributes:
        overlap: of the patterns with where the network settles from them, 5 % of the
            units flipped; mean of the patterns.
        false: the share of random states that settle in no pattern (at most 0.95
            overlap with each, or with its opposite).
    """

    overlap: jax.Array
    false: jax.Array


def random_states(key: jax.Array, count: int, units: int) -> jax.Array:
    """Random states of -1 and 1, `(count, units)`."""
    return jnp.where(jax.random.bernoulli(key, 0.5, (count, units)), 1.0, -1.0)


def hebb(patterns: jax.Array) -> jax.Array:
    """The weights after learning the patterns, which are rows."""
    units = patterns.shape[1]
    return patterns.T @ patterns / units * (1 - jnp.eye(units))


def settle(weights: jax.Array, states: jax.Array, key: jax.Array) -> jax.Array:
    """Set each unit to the sign of its drive, one after the other, in random order."""
    units = len(weights)
    keys = jax.random.split(key, SWEEPS)
    order = jax.vmap(lambda k: jax.random.permutation(k, units))(keys).reshape(-1)

    def one(states: jax.Array, unit: jax.Array) -> tuple[jax.Array, None]:
        drive = weights[unit] @ states
        return states.at[unit].set(jnp.where(drive >= 0, 1.0, -1.0)), None

    return jax.lax.scan(one, states.T, order)[0].T


def recalled(weights: jax.Array, patterns: jax.Array, key: jax.Array) -> Recall:
    """What the network recalls of its patterns, and from random states."""
    for_flips, for_order, for_start = jax.random.split(key, 3)
    flipped = jax.random.bernoulli(for_flips, FLIPPED, patterns.shape)
    starts = random_states(for_start, 2 * DREAMS, len(weights))
    cues = jnp.concatenate([jnp.where(flipped, -patterns, patterns), starts])
    ends = settle(weights, cues, for_order)
    count, units = patterns.shape
    overlap = jnp.mean(ends[:count] * patterns)
    nearest = jnp.max(jnp.abs(ends[count:] @ patterns.T), axis=1) / units
    return Recall(overlap, jnp.mean(nearest <= 0.95))


@partial(jax.jit, static_argnames=("count", "units", "nights", "every", "unlearned"))
def nights_of(
    key: jax.Array, count: int, units: int, nights: int, every: int, unlearned: str
) -> Recall:
    """What a network recalls before the first night and after every few of them.

    Args:
        key: of patterns, dreams and cues.
        count: of the patterns, drawn at random.
        units: of the network.
        nights: with 20 dreams each.
        every: how many nights lie between two measurements.
        unlearned: `SETTLED`, where random states settle; or `RANDOM`, the states
            themselves, as a control.

    Returns:
        Of each measurement, `(1 + nights / every,)` each.
    """
    for_patterns, for_recall, for_nights = jax.random.split(key, 3)
    patterns = random_states(for_patterns, count, units)

    def night(weights: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        for_start, for_order = jax.random.split(key)
        seen = random_states(for_start, DREAMS, units)
        if unlearned == SETTLED:
            seen = settle(weights, seen, for_order)
        return weights - STRENGTH * hebb(seen), None

    def some(weights: jax.Array, keys: jax.Array) -> tuple[jax.Array, Recall]:
        weights = jax.lax.scan(night, weights, keys)[0]
        return weights, recalled(weights, patterns, for_recall)

    weights = hebb(patterns)
    first = recalled(weights, patterns, for_recall)
    keys = jax.random.split(for_nights, (nights // every, every))
    later = jax.lax.scan(some, weights, keys)[1]
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)
