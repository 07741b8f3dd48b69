"""Where inference ended, and what a way of inference is asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax


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
    """

    value: jax.Array
    aux: Any
    grads: list[jax.Array]
    values: dict[str, jax.Array]
    errors: dict[str, jax.Array]
    residual: jax.Array
    steps: Any


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
