"""PowerSign and AddSign: larger steps where gradient and momentum agree in sign.

    m <- beta m + (1 - beta) g,        a = f(t) sign(g) sign(m)

    PowerSign   w <- w - rate base^a g            AddSign   w <- w - rate (alpha + a) g

Found by a search over expressions. Bello, Zoph, Vasudevan & Le 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ._check import check_number, check_positive


class SignAgreementState(NamedTuple):
    """The number of steps taken, and the momentum m of each parameter."""

    taken: jax.Array
    momentum: Any


def power_sign(
    learning_rate: optax.ScalarOrSchedule,
    base: float = math.e,
    momentum: float = 0.9,
    decay: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """Multiply a step by `base` where signs agree, and divide it where they do not.

        m <- beta m + (1 - beta) g,      w <- w - rate base^(f(t) sign(g) sign(m)) g

    m has seen g when its sign is taken.

    Args:
      learning_rate: a number or an optax schedule.
      base: what the step is multiplied by.
      momentum: beta, the fraction of m that is kept.
      decay: f, a function of the step: `linear_decay`, `cosine_decay`, `restart_decay`
        or any optax schedule; None: always 1.

    Returns:
      An `optax.GradientTransformation`.

    Raises:
      ValueError: for a number out of its range, or a decay that is no function.

    Example:
      >>> import jax.numpy as jnp, optax, apical
      >>> optimizer = apical.optim.power_sign(0.1, base=2.0)
      >>> w = jnp.array([1.0, 1.0])
      >>> updates, _ = optimizer.update(jnp.array([5.0, -1.0]), optimizer.init(w), w)
      >>> print(updates)
      [-1.   0.2]

    Source: Bello, Zoph, Vasudevan & Le 2017, ICML, arXiv:1709.07417.
    """
    check_positive("base", base)
    return _by_agreement(
        learning_rate, momentum, decay, lambda a: jnp.power(jnp.asarray(base, float), a)
    )


def add_sign(
    learning_rate: optax.ScalarOrSchedule,
    alpha: float = 1.0,
    momentum: float = 0.9,
    decay: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """Add to the size of a step where signs agree, and take from it where they do not.

        m <- beta m + (1 - beta) g,      w <- w - rate (alpha + f(t) sign(g) sign(m)) g

    m has seen g when its sign is taken. With the usual alpha = 1 and f = 1 a step is
    twice the gradient's, or none.

    Args:
      learning_rate: a number or an optax schedule.
      alpha: the size of a step where one of the signs is 0.
      momentum: beta, the fraction of m that is kept.
      decay: f, a function of the step: `linear_decay`, `cosine_decay`, `restart_decay`
        or any optax schedule; None: always 1.

    Returns:
      An `optax.GradientTransformation`.

    Raises:
      ValueError: for a number out of its range, or a decay that is no function.

    Example:
      >>> import jax.numpy as jnp, optax, apical
      >>> optimizer = apical.optim.add_sign(0.1)
      >>> w = jnp.array([1.0, 1.0])
      >>> updates, _ = optimizer.update(jnp.array([5.0, -1.0]), optimizer.init(w), w)
      >>> print(updates)
      [-1.   0.2]

    Source: Bello, Zoph, Vasudevan & Le 2017, ICML, arXiv:1709.07417.
    """
    check_number("alpha", alpha, 0, math.inf)
    return _by_agreement(learning_rate, momentum, decay, lambda a: alpha + a)


def _by_agreement(
    learning_rate: optax.ScalarOrSchedule,
    beta: float,
    decay: Callable[[Any], Any] | None,
    size: Callable[[Any], Any],
) -> optax.GradientTransformation:
    """Each entry of the gradient times a size that depends on how its signs agree."""
    if not callable(learning_rate):
        check_number("learning_rate", learning_rate, 0, math.inf)
    check_number("momentum", beta, 0, 1)
    if decay is not None and not callable(decay):
        raise ValueError(
            "`decay` must be a function of the step, as `apical.optim.linear_decay("
            f"steps)` makes one, or None, not {decay!r}."
        )

    def init(params: Any) -> SignAgreementState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return SignAgreementState(jnp.zeros((), jnp.int32), zeros)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        del params
        counts = 1.0 if decay is None else decay(state.taken)

        def moved(m: jax.Array, g: jax.Array) -> jax.Array:
            return (beta * m + (1 - beta) * g).astype(m.dtype)

        def scaled(g: jax.Array, m: jax.Array) -> jax.Array:
            return (size(counts * jnp.sign(g) * jnp.sign(m)) * g).astype(g.dtype)

        momentum = jax.tree.map(moved, state.momentum, updates)
        direction = jax.tree.map(scaled, updates, momentum)
        return direction, SignAgreementState(state.taken + 1, momentum)

    return optax.chain(
        optax.GradientTransformation(init, update),
        optax.scale_by_learning_rate(learning_rate),
    )
