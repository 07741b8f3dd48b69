"""Read-outs of nodes for local objectives: fixed or learned matrices.

y = s_n R_n,      R_n `[units, columns]`, uniform within 1/sqrt(units) at first
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import optax

from ...circuit import Circuit
from .._inner_optimizers import apply_optimizer
from .._random import draw_matrices

Shapes = dict[str, dict[str, tuple[int, int]]]


class ReadoutState(NamedTuple):
    """The read-outs, and the state of the optimiser that trains them.

    Attributes:
      weights: for each node, a matrix `[units, columns]` for each use of it.
      optimizer: the optimiser's state; empty where the matrices are fixed.
    """

    weights: dict[str, dict[str, jax.Array]]
    optimizer: Any


def draw_readouts(key: jax.Array, shapes: Shapes, dtypes: dict[str, Any]) -> Any:
    """A matrix for each node and use, in the node's dtype."""
    flat = [
        (n, use, shape) for n, uses in shapes.items() for use, shape in uses.items()
    ]
    kinds = [dtypes[node] for node, _, _ in flat]
    drawn = iter(draw_matrices(key, [shape for _, _, shape in flat], kinds))
    return {n: {use: next(drawn) for use in uses} for n, uses in shapes.items()}


def update_readouts(
    circuit: Circuit,
    optimizer: optax.GradientTransformation,
    state: ReadoutState,
    grads: Any,
) -> ReadoutState:
    """One step of the optimiser, along the gradient of a mean over the examples."""
    share = circuit.scale / circuit.batch_size
    grads = jax.tree.map(lambda g: share * g, grads)
    return ReadoutState(
        *apply_optimizer(optimizer, grads, state.optimizer, state.weights)
    )
