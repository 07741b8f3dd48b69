"""Leaky integrators, the factor of their decay, and the time convention of all neurons.

    v_t = decay v_{t-1} + I_t

Time is discrete, and a step of a neuron is a function of its state after step t - 1 and
of the current I_t:

    potential    decays, takes the whole of I_t, and is reset by the spike of step t - 1
    spike        s_t = H(v_t - threshold): read from the potential of the same step
    current      enters with weight 1: scale it by 1 - decay, or by dt R / tau, yourself

So a spike acts on its own neuron (reset, adaptation, refractory time, recurrent
weights) one step later, always through `state.spikes`, and on the next layer at once.
`state.potential` is the potential that was compared with the threshold.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from ._checks import check_decay, check_positive, check_step


def decay_factor(time_constant: Any, dt: Any = 1.0) -> Any:
    """The factor by which a leaky integrator decays in one step.

        decay = exp(-dt / time_constant)

    That is exact for currents that are constant within a step. Euler's method, which
    norse and NIR's converters use, has decay = 1 - dt / time_constant.

    Args:
      time_constant: in the unit of `dt`; a number or an array, which may be learned.
      dt: the length of a step.

    Returns:
      A Python float for numbers, an array for arrays.

    Raises:
      ValueError: for numbers that are not finite and above 0.

    Example:
      >>> from apical import spiking
      >>> round(spiking.decay_factor(20.0), 4)
      0.9512
    """
    check_positive(time_constant, "time_constant")
    check_positive(dt, "dt")
    if isinstance(time_constant, (int, float)) and isinstance(dt, (int, float)):
        return math.exp(-dt / time_constant)
    return jnp.exp(-dt / time_constant)


def leaky(state: Any, current: Any, *, decay: Any) -> tuple[jax.Array, jax.Array]:
    """A leaky integrator: a read-out without spikes, or a low-pass filter.

        v_t = decay v_{t-1} + I_t

    Args:
      state: the potential v_{t-1}; `jnp.zeros` of the shape of the current at first.
      current: I_t, with the shape of the state.
      decay: the factor per step, from 0 to 1; 1 adds up without a leak. A number, or an
        array that broadcasts to the state, which may be learned.

    Returns:
      The next state and the output: both are the potential v_t.

    Raises:
      ValueError: for a decay out of its range, or a current with another shape or dtype
        than the state.

    Example:
      >>> from functools import partial
      >>> import jax, jax.numpy as jnp
      >>> from apical import spiking
      >>> currents = jnp.array([[1.0], [0.0], [1.0]])  # three steps of one unit
      >>> step = partial(spiking.leaky, decay=0.5)
      >>> _, potentials = jax.lax.scan(step, jnp.zeros(1), currents)
      >>> print(potentials[:, 0])
      [1.   0.5  1.25]
    """
    check_decay(decay, "decay")
    check_step(state, "jnp.zeros", current=current, decay=decay)
    potential = jnp.asarray(decay * state + current)
    return potential, potential
