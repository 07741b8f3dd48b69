"""Read-outs of single nodes: drawn once, and learned by an optimiser of their own."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ...circuit import Circuit
from .._trained import updated

Shapes = dict[str, dict[str, tuple[int, int]]]


class ReadoutState(NamedTuple):
    """What local objectives read a node by, and the state of what learns it.

    Attributes:
      weights: for each node, a matrix `[units, columns]` for each use of it.
      optimizer: the optimiser's state; empty where the matrices are fixed.
    """

    weights: dict[str, dict[str, jax.Array]]
    optimizer: Any


def draw_readouts(key: jax.Array, shapes: Shapes, dtypes: dict[str, Any]) -> Any:
    """Matrices, uniform within 1/sqrt(units)."""
    counts = [r * c for each in shapes.values() for r, c in each.values()]
    # All at once: a generator is compiled anew for every shape.
    numbers = jax.random.uniform(key, (sum(counts),), minval=-1.0, maxval=1.0)
    parts = iter(jnp.split(numbers, list(accumulate(counts))[:-1]))
    return {
        node: {
            use: (next(parts).reshape(shape) * shape[0] ** -0.5).astype(dtypes[node])
            for use, shape in each.items()
        }
        for node, each in shapes.items()
    }


def moved(
    circuit: Circuit,
    optimizer: optax.GradientTransformation,
    state: ReadoutState,
    grads: Any,
) -> ReadoutState:
    """One step, along the gradient of a mean over the examples."""
    share = circuit.scale / circuit.batch_size
    grads = jax.tree.map(lambda g: share * g, grads)
    return ReadoutState(*updated(optimizer, grads, state.optimizer, state.weights))
