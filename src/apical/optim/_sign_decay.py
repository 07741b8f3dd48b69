"""How much the agreement of signs still counts: f(t), from 1 at the first step.

    linear    f(t) = 1 - t / T
    cosine    f(t) = (1 + cos(2 pi n t / T)) / 2            n periods, by default 1/2
    restart   f(t) = (1 + cos(pi ((n t) mod T) / T)) / 2    n falls, by default 1

with t held at T from there on. For `decay=` of `power_sign` and `add_sign`; any optax
schedule may stand in their place. Bello, Zoph, Vasudevan & Le 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ._check import check_number

Decay = Callable[[Any], jax.Array]


def linear_decay(steps: int) -> Decay:
    """A line from 1 at the first step to 0 at step `steps`.

    Args:
      steps: T, the number of steps until it is 0.

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
    """A cosine from 1, by default half a period of it: to 0 at step `steps`.

    Args:
      steps: T, the number of steps of all periods.
      periods: n, how many periods there are.

    Returns:
      f, a function of the step.

    Example:
      >>> import apical
      >>> round(float(apical.optim.cosine_decay(4)(2)), 6)
      0.5
    """
    _check_steps(steps)
    check_number("periods", periods, 0, math.inf)
    return lambda t: (1 + jnp.cos(2 * jnp.pi * periods * _passed(t, steps))) / 2


def restart_decay(steps: int, periods: float = 1.0) -> Decay:
    """Half a cosine from 1 to 0, `periods` times, each time from 1 again.

    As in the published code, step `steps` and those after it begin a period: f is 1
    there if `periods` is whole.

    Args:
      steps: T, the number of steps of all periods.
      periods: n, how many periods there are.

    Returns:
      f, a function of the step.

    Example:
      >>> import apical
      >>> decay = apical.optim.restart_decay(8, periods=2)
      >>> [round(float(decay(t)), 2) for t in (0, 2, 3, 4)]
      [1.0, 0.5, 0.15, 1.0]
    """
    _check_steps(steps)
    check_number("periods", periods, 0, math.inf)

    def decay(t: Any) -> jax.Array:
        fallen = jnp.mod(periods * jnp.minimum(t, steps), steps) / steps
        return (1 + jnp.cos(jnp.pi * fallen)) / 2

    return decay


def _passed(t: Any, steps: int) -> jax.Array:
    return jnp.minimum(t, steps) / steps


def _check_steps(steps: Any) -> None:
    check_number("steps", steps, 1, math.inf)
