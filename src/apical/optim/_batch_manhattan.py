"""Batch Manhattan: descent along the sign of the gradient of a batch.

    tau = gradient,   kappa = m kappa + tau + d w,   w <- w - rate kappa,

with the sign of tau, of kappa, of both or of neither. Liao, Leibo & Poggio 2016.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ._argument_checks import check_number


class BatchManhattanState(NamedTuple):
    """The velocity kappa of each parameter."""

    velocity: Any


def batch_manhattan(
    learning_rate: optax.ScalarOrSchedule,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    *,
    sign_gradient: bool = True,
    sign_velocity: bool = False,
) -> optax.GradientTransformation:
    """Batch Manhattan: descent along the sign of the gradient of a batch.

        tau   = gradient of the batch              (setting 1: its sign)
        kappa = momentum kappa + tau + weight_decay w
        w     = w - rate kappa                     (setting 2: the sign of kappa)

    | setting of the paper | `sign_gradient` | `sign_velocity` |
    |----------------------|-----------------|-----------------|
    | 0: gradient descent  | False           | False           |
    | 1 (the default)      | True            | False           |
    | 2                    | False           | True            |
    | 3                    | True            | True            |

    Details that the paper leaves open follow the authors' later code (`bm_sgd.py` in
    the sign-symmetry repository): decay is added after the sign, before the velocity.
    In settings 2 and 3 the velocity itself is not replaced by its sign; only the step
    is.

    Args:
      learning_rate: a number or an optax schedule.
      momentum: the fraction of the velocity that is kept.
      weight_decay: the coefficient of w in the direction, in units of the (signed)
        gradient.
      sign_gradient: whether to take the sign of the gradient.
      sign_velocity: whether to step by the sign of the velocity.

    Returns:
      An `optax.GradientTransformation`; with decay, `update` needs the parameters.

    Raises:
      ValueError: for a rate or decay below 0, or a momentum outside [0, 1).

    Example:
      >>> import jax.numpy as jnp, optax, apical
      >>> optimizer = apical.optim.batch_manhattan(0.1)
      >>> w = jnp.array([1.0, 1.0])
      >>> updates, _ = optimizer.update(jnp.array([5.0, -0.01]), optimizer.init(w), w)
      >>> print(updates)
      [-0.1  0.1]

    Source: Liao, Leibo & Poggio 2016, AAAI, section "Batch Manhattan".
    """
    if not callable(learning_rate):
        check_number(learning_rate, "learning_rate", 0, math.inf)
    check_number(momentum, "momentum", 0, 1)
    check_number(weight_decay, "weight_decay", 0, math.inf)

    def init(params: Any) -> BatchManhattanState:
        return BatchManhattanState(jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        if params is None and weight_decay:
            raise ValueError(
                "`batch_manhattan` with `weight_decay` needs the parameters: call "
                "`optimizer.update(grads, state, params)`."
            )
        tau = jax.tree.map(jnp.sign, updates) if sign_gradient else updates
        if weight_decay:
            tau = jax.tree.map(lambda t, w: t + weight_decay * w, tau, params)
        kappa = jax.tree.map(lambda k, t: momentum * k + t, state.velocity, tau)
        direction = jax.tree.map(jnp.sign, kappa) if sign_velocity else kappa
        return direction, BatchManhattanState(kappa)

    return optax.chain(
        optax.GradientTransformation(init, update),
        optax.scale_by_learning_rate(learning_rate),
    )
