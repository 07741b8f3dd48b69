"""Steps as large as the curvature met so far allows, where no rate is given.

    rate_t = min(sqrt(1 + rate_t-1 / rate_t-2) rate_t-1,
                 |v_t - v_t-1| / (2 |dE_t - dE_t-1|))

for each example by itself, so that none depends on its batch. No step needs more than
the slopes that plain steps need. Malitsky & Mishchenko 2020, ICML.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from .._rule import wide
from ._by_example import ByExample, Tree, ratio

# Of the first step, which goes before there is a curvature; of the second on top of it.
_FIRST, _GROWTH = 0.01, 1e9


class Memory(NamedTuple):
    """The last point and slope, the last rates and how they grew, the steps taken."""

    point: Tree
    slope: Tree
    rate: jax.Array
    growth: jax.Array
    taken: jax.Array


def adaptive_steps(by_example: ByExample) -> optax.GradientTransformation:
    """The steps as a transformation of slopes."""

    def init(params: Any) -> Any:
        none = wide(jnp.zeros_like(by_example.dot(params, params)))
        start = jnp.zeros((), int)
        return Memory(params, params, none + _FIRST, none + _GROWTH, start)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        slope, memory, point = updates, state, params
        moved = wide(jax.tree.map(jnp.subtract, point, memory.point))
        bent = wide(jax.tree.map(jnp.subtract, slope, memory.slope))
        distance, change = by_example.dot(moved, moved), by_example.dot(bent, bent)
        # Where nothing moved, or nothing changed, there is no curvature to be told.
        allowed = jnp.sqrt(ratio(distance / 4, change, jnp.square(memory.rate)))
        grown = jnp.sqrt(1 + memory.growth) * memory.rate
        rate = jnp.where(distance > 0, jnp.minimum(grown, allowed), memory.rate)
        rate = jnp.where(memory.taken > 0, rate, memory.rate)
        growth = jnp.where(memory.taken > 0, rate / memory.rate, memory.growth)
        after = Memory(point, slope, rate, growth, memory.taken + 1)
        return by_example.times(-rate, slope), after

    return optax.GradientTransformation(init, update)
