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

from ._argument_checks import check_number, check_positive


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
    """PowerSign: multiply a step by `base` if signs agree, else divide it.

        m <- beta m + (1 - beta) g,      w <- w - rate base^(f(t) sign(g) sign(m)) g

    m is updated with g before its sign is taken.

    Args:
      learning_rate: a number or an optax schedule.
      base: the factor of the step.
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
    check_positive(base, "base")
    return _by_agreement(
        learning_rate, momentum, decay, lambda a: jnp.power(jnp.asarray(base, float), a)
    )


def add_sign(
    learning_rate: optax.ScalarOrSchedule,
    alpha: float = 1.0,
    momentum: float = 0.9,
    decay: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """AddSign: enlarge a step if the signs agree, shrink it if they do not.

        m <- beta m + (1 - beta) g,      w <- w - rate (alpha + f(t) sign(g) sign(m)) g

    m is updated with g before its sign is taken. With the usual alpha = 1 and f = 1 a
    step is twice the gradient or 0.

    Args:
      learning_rate: a number or an optax schedule.
      alpha: the factor of the step if one of the signs is 0.
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
    check_number(alpha, "alpha", 0, math.inf)
    return _by_agreement(learning_rate, momentum, decay, lambda a: alpha + a)


def _by_agreement(
    learning_rate: optax.ScalarOrSchedule,
    beta: float,
    decay: Callable[[Any], Any] | None,
    size: Callable[[Any], Any],
) -> optax.GradientTransformation:
    """Scale each entry of the gradient by a function of sign(g) sign(m)."""
    if not callable(learning_rate):
        check_number(learning_rate, "learning_rate", 0, math.inf)
    check_number(beta, "momentum", 0, 1)
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


# ---- Decay f(t) of the sign agreement, from 1 at the first step.
#
#     linear    f(t) = 1 - t / T
#     cosine    f(t) = (1 + cos(2 pi n t / T)) / 2            n periods, by default 1/2
#     restart   f(t) = (1 + cos(pi ((n t) mod T) / T)) / 2    n falls, by default 1
# with t held at T after step T. For `decay=` of `power_sign` and `add_sign`, which also
# take any optax schedule. Bello, Zoph, Vasudevan & Le 2017.

Decay = Callable[[Any], jax.Array]


def linear_decay(steps: int) -> Decay:
    """Linear decay from 1 at the first step to 0 at step `steps`.

    Args:
      steps: T, the number of steps until f is 0.

    Returns:
      f, a function of the step.

    Example:
      >>> import apical
      >>> float(apical.optim.linear_decay(4)(1))
      0.75
    """
    _check_steps(steps)
    return lambda t: 1 - _passed(t, steps)


def cosine_decay(steps: int, periods: float = 0.5) -> Decay:
    """Cosine decay from 1; by default half a period, to 0 at step `steps`.

    Args:
      steps: T, the number of steps of all periods.
      periods: n, the number of periods.

    Returns:
      f, a function of the step.

    Example:
      >>> import apical
      >>> round(float(apical.optim.cosine_decay(4)(2)), 6)
      0.5
    """
    _check_steps(steps)
    check_number(periods, "periods", 0, math.inf)
    return lambda t: (1 + jnp.cos(2 * jnp.pi * periods * _passed(t, steps))) / 2


def restart_decay(steps: int, periods: float = 1.0) -> Decay:
    """Cosine decay from 1 to 0 with restarts: `periods` half cosines.

    As in the published code, step `steps` and those after it begin a period: f is 1
    there if `periods` is whole.

    Args:
      steps: T, the number of steps of all periods.
      periods: n, the number of periods.

    Returns:
      f, a function of the step.

    Example:
      >>> import apical
      >>> decay = apical.optim.restart_decay(8, periods=2)
      >>> [round(float(decay(t)), 2) for t in (0, 2, 3, 4)]
      [1.0, 0.5, 0.15, 1.0]
    """
    _check_steps(steps)
    check_number(periods, "periods", 0, math.inf)

    def decay(t: Any) -> jax.Array:
        fallen = jnp.mod(periods * jnp.minimum(t, steps), steps) / steps
        return (1 + jnp.cos(jnp.pi * fallen)) / 2

    return decay


def _passed(t: Any, steps: int) -> jax.Array:
    return jnp.minimum(t, steps) / steps


def _check_steps(steps: Any) -> None:
    check_number(steps, "steps", 1, math.inf)
