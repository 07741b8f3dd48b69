"""Where inference ended, and what a way of inference is asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from ...circuit import Circuit
from .._rule import squared_norm

# Below this fraction of the first gradient the values count as settled.
_SETTLED = 1e-3


class Settled(NamedTuple):
    """Where inference ended.

    Attributes:
      value: the loss of the undisturbed forward pass.
      aux: what the loss function returned beside it.
      grads: the gradients of the learned leaves.
      values: the value of each node.
      errors: value minus prediction, of each node.
      residual: the norm of dE/dv at the last step, relative to the first.
      steps: how many steps were taken.
      arguments: all arguments after `params`, where some were free.
    """

    value: jax.Array
    aux: Any
    grads: list[jax.Array]
    values: dict[str, jax.Array]
    errors: dict[str, jax.Array]
    residual: jax.Array
    steps: Any
    arguments: Any = None


class Budget(NamedTuple):
    """How long inference may take.

    Attributes:
      steps: how many steps at most.
      rate: their size.
      tolerance: the relative residual at which it stops before; 0: never.
    """

    steps: int
    rate: Any
    tolerance: float = 0.0


class Settling(NamedTuple):
    """Diagnostics of inference.

    Attributes:
      energy: for each node, half its squared error, summed over the node and averaged
        over the examples.
      residual: the norm of dE/dv at the last step, relative to the first; of two
        settlings (a centred nudge) the larger.
      settled: whether the residual fell below 1e-3 (never with numbers not finite).
      steps: how many steps were taken.
    """

    energy: dict[str, jax.Array]
    residual: jax.Array
    settled: jax.Array
    steps: Any


def settling(circuit: Circuit, errors: Any, residual: Any, steps: Any) -> Settling:
    """The diagnostics where inference has left these errors."""
    share = 1 / circuit.batch_size
    energy = {n: share * squared_norm(e) / 2 for n, e in errors.items()}
    return Settling(energy, residual, residual < _SETTLED, steps)
