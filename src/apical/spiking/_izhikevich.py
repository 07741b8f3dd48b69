"""Izhikevich's neuron: two variables, and most firing patterns of cortical neurons.

    v' = 0.04 v^2 + 5 v + 140 - u + I,      u' = a (b v - u)        (per ms, v in mV)
    a spike at v > threshold:      v <- c,      u <- u + d

Izhikevich 2003.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ._checks import check_count, check_positive, check_step
from ._surrogates import SpikeFunction, fast_sigmoid

_SPIKE = fast_sigmoid(slope=0.1)  # per mV


class IzhikevichState(NamedTuple):
    """The state of `izhikevich` after a step.

    Attributes:
      potential: v in mV, as it was compared with the threshold, before the reset.
      recovery: u, before the reset.
      spikes: s, 0 or 1.
    """

    potential: jax.Array
    recovery: jax.Array
    spikes: jax.Array

    @classmethod
    def initial(
        cls,
        shape: tuple[int, ...],
        dtype: Any = None,
        *,
        potential: Any = -65.0,
        b: Any = 0.2,
    ) -> IzhikevichState:
        """A potential of -65 mV, with the recovery variable u = b v, and no spikes."""
        zeros = jnp.zeros(shape, float if dtype is None else dtype)
        v = zeros + potential
        return cls(v, b * v, zeros)


def izhikevich(
    state: IzhikevichState,
    current: Any,
    *,
    a: Any = 0.02,
    b: Any = 0.2,
    c: Any = -65.0,
    d: Any = 8.0,
    threshold: Any = 30.0,
    dt: float = 1.0,
    substeps: int = 2,
    detach_reset: bool = True,
    spike: SpikeFunction = _SPIKE,
) -> tuple[IzhikevichState, jax.Array]:
    """A step of Izhikevich's neurons, by Euler's method.

        v <- c if s_{t-1} else v_{t-1},       u <- u_{t-1} + d s_{t-1}
        v <- v + h (0.04 v^2 + 5 v + 140 - u + I_t)    `substeps` times, h = dt/substeps
        u_t = u + dt a (b v_t - u)
        s_t = H(v_t - threshold)

    With the defaults it is the published script: two steps of 0.5 ms for v, one of 1 ms
    for u, and a reset at the beginning of the step after the spike. The default numbers
    are those of a regular spiking neuron; c = -50 and d = 2 chatter, a = 0.1 and d = 2
    spike fast. Gradients grow with v^2: clip them.

    Args:
      state: `IzhikevichState.initial(shape, dtype)` at first.
      current: I_t, with the shape of the state.
      a: the rate of the recovery, per ms. This and b, c, d may be arrays that
        broadcast to the state, and learned.
      b: how the recovery follows the potential.
      c: the potential after a spike, in mV.
      d: what a spike adds to the recovery.
      threshold: the peak of a spike, in mV.
      dt: the length of a step, in ms.
      substeps: the number of Euler's steps for v in one step; more for a longer dt.
      detach_reset: whether gradients do not pass through s_{t-1} in the reset.
      spike: from v_t - threshold, in mV, to spikes; by default
        `fast_sigmoid(slope=0.1)`.

    Returns:
      The next state, and its spikes s_t.

    Raises:
      ValueError: for a dt that is not above 0, a number of substeps that is no whole
        number of at least 1, or arguments that would change the shape or dtype of the
        state.

    Example:
      >>> from functools import partial
      >>> import jax, jax.numpy as jnp
      >>> from apical import spiking
      >>> currents = jnp.full((1000, 1), 10.0)  # a second of 10 units
      >>> initial = spiking.IzhikevichState.initial((1,))
      >>> state, spikes = jax.lax.scan(spiking.izhikevich, initial, currents)
      >>> float(spikes.sum())
      20.0

    Source: Izhikevich 2003, IEEE Transactions on Neural Networks 14:1569-1572.
    """
    check_positive(dt, "dt")
    check_count(substeps, "substeps")
    told = {"current": current, "a": a, "b": b, "c": c, "d": d, "threshold": threshold}
    check_step(state.potential, "IzhikevichState.initial", **told)
    fired = jax.lax.stop_gradient(state.spikes) if detach_reset else state.spikes
    v = (1 - fired) * state.potential + fired * c
    u = state.recovery + fired * d
    for _ in range(substeps):
        v = v + (dt / substeps) * (0.04 * v * v + 5 * v + 140 - u + current)
    v = jnp.asarray(v)
    u = jnp.asarray(u + dt * a * (b * v - u))
    spikes = spike(v - threshold)
    return IzhikevichState(v, u, spikes), spikes
