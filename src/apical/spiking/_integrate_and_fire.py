"""Leaky integrate-and-fire neurons, driven by currents or through synaptic filters.

    v_t = decay v_{t-1} + I_t - threshold s_{t-1}         reset="subtract"
    v_t = decay v_{t-1} (1 - s_{t-1}) + I_t               reset="zero"
    s_t = H(v_t - threshold)

The time convention is that of `_leaky_integrators.py`. Every operation acts on each
entry, so that each neuron is a unit of its own for rules that keep traces.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from ._checks import check_choice, check_decay, check_step
from ._surrogates import SpikeFunction, fast_sigmoid

RESETS = ("subtract", "zero")
DEFAULT_SPIKE = fast_sigmoid()


class LIFState(NamedTuple):
    """The state of `lif` after a step.

    Attributes:
      potential: v, as it was compared with the threshold, before the reset.
      spikes: s, 0 or 1. What changes them here (a refractory time, a lesion) changes
        all that the neurons do with them in the next step.
    """

    potential: jax.Array
    spikes: jax.Array

    @classmethod
    def initial(cls, shape: tuple[int, ...], dtype: Any = None) -> LIFState:
        """Potentials of 0 and no spikes; the default dtype is that of JAX's floats."""
        zeros = jnp.zeros(shape, float if dtype is None else dtype)
        return cls(zeros, zeros)


def lif(
    state: LIFState,
    current: Any,
    *,
    decay: Any,
    threshold: Any = 1.0,
    reset: str = "subtract",
    detach_reset: bool = True,
    spike: SpikeFunction = DEFAULT_SPIKE,
) -> tuple[LIFState, jax.Array]:
    """A step of leaky integrate-and-fire neurons.

        v_t = decay v_{t-1} + I_t - threshold s_{t-1}         reset="subtract"
        v_t = decay v_{t-1} (1 - s_{t-1}) + I_t               reset="zero"
        s_t = H(v_t - threshold)

    A spike resets the potential at the next step: after the decay it loses the whole
    threshold, or it starts from 0. With a decay of 1 this is integrate-and-fire.

    Args:
      state: `LIFState.initial(shape, dtype)` at first.
      current: I_t, with the shape of the state. A recurrent layer adds
        `state.spikes @ w`, the spikes of the step before.
      decay: the factor per step, from 0 to 1: `decay_factor(time_constant, dt)`. Like
        the threshold, a number or an array that broadcasts to the state, which may be
        learned.
      threshold: in the units of the potential.
      reset: `"subtract"` or `"zero"`.
      detach_reset: whether gradients do not pass through s_{t-1} in the reset
        (`stop_gradient`), as e-prop and OTTT have it.
      spike: from v_t - threshold to spikes, such as `fast_sigmoid(slope)`.

    Returns:
      The next state, and its spikes s_t.

    Raises:
      ValueError: for an unknown reset, a decay out of its range, or arguments that
        would change the shape or dtype of the state.

    Example:
      >>> from functools import partial
      >>> import jax, jax.numpy as jnp
      >>> from apical import spiking
      >>> currents = jnp.full((5, 1), 0.75)  # five steps of one neuron
      >>> step = partial(spiking.lif, decay=0.5)
      >>> state, spikes = jax.lax.scan(step, spiking.LIFState.initial((1,)), currents)
      >>> print(spikes[:, 0])
      [0. 1. 0. 0. 1.]

    Source: Bellec et al. 2020, Nature Communications 11:3625, for the discretisation.
    """
    told = {"current": current, "decay": decay, "threshold": threshold}
    check_step(state.potential, "LIFState.initial", **told)
    potential = integrated(state, current, decay, threshold, reset, detach_reset)
    spikes = spike(potential - threshold)
    return LIFState(potential, spikes), spikes


class CubaLIFState(NamedTuple):
    """The state of `cuba_lif` after a step.

    Attributes:
      synaptic_current: i, what the synaptic filter holds.
      potential: v, as it was compared with the threshold, before the reset.
      spikes: s, 0 or 1.
    """

    synaptic_current: jax.Array
    potential: jax.Array
    spikes: jax.Array

    @classmethod
    def initial(cls, shape: tuple[int, ...], dtype: Any = None) -> CubaLIFState:
        """No current, potentials of 0 and no spikes."""
        zeros = jnp.zeros(shape, float if dtype is None else dtype)
        return cls(zeros, zeros, zeros)


def cuba_lif(
    state: CubaLIFState,
    current: Any,
    *,
    synaptic_decay: Any,
    decay: Any,
    threshold: Any = 1.0,
    reset: str = "subtract",
    detach_reset: bool = True,
    spike: SpikeFunction = DEFAULT_SPIKE,
) -> tuple[CubaLIFState, jax.Array]:
    """A step of current-based leaky integrate-and-fire neurons: exponential synapses.

        i_t = synaptic_decay i_{t-1} + I_t
        v_t = decay v_{t-1} + i_t - threshold s_{t-1}         reset="subtract"
        v_t = decay v_{t-1} (1 - s_{t-1}) + i_t               reset="zero"
        s_t = H(v_t - threshold)

    It is `leaky` as a filter before `lif`. A current acts on the potential in the step
    in which it arrives. The reset leaves the synaptic current as it is.

    Args:
      state: `CubaLIFState.initial(shape, dtype)` at first.
      current: I_t, what arrives at the synapses, with the shape of the state.
      synaptic_decay: the factor per step of the synaptic current, from 0 to 1. Like the
        decay and the threshold, a number or an array that broadcasts to the state.
      decay: the factor per step of the potential, from 0 to 1.
      threshold: in the units of the potential.
      reset: `"subtract"` or `"zero"`.
      detach_reset: whether gradients do not pass through s_{t-1} in the reset.
      spike: from v_t - threshold to spikes.

    Returns:
      The next state, and its spikes s_t.

    Raises:
      ValueError: for an unknown reset, a decay out of its range, or arguments that
        would change the shape or dtype of the state.

    Example:
      >>> from functools import partial
      >>> import jax, jax.numpy as jnp
      >>> from apical import spiking
      >>> currents = jnp.zeros((4, 1)).at[0].set(0.8)  # one event
      >>> step = partial(spiking.cuba_lif, synaptic_decay=0.5, decay=0.9)
      >>> initial = spiking.CubaLIFState.initial((1,))
      >>> state, spikes = jax.lax.scan(step, initial, currents)
      >>> print(spikes[:, 0])
      [0. 1. 0. 0.]

    Source: Cramer et al. 2022, IEEE TNNLS 33:2744-2757, equations 2 and 3, with the
    current of the same step.
    """
    check_decay(synaptic_decay, "synaptic_decay")
    made_by = "CubaLIFState.initial"
    told = {"current": current, "synaptic_decay": synaptic_decay}
    check_step(state.synaptic_current, made_by, **told)
    i = jnp.asarray(synaptic_decay * state.synaptic_current + current)
    told = {"synaptic_current": i, "decay": decay, "threshold": threshold}
    check_step(state.potential, made_by, **told)
    potential = integrated(state, i, decay, threshold, reset, detach_reset)
    spikes = spike(potential - threshold)
    return CubaLIFState(i, potential, spikes), spikes


class _PotentialAndSpikes(Protocol):
    @property
    def potential(self) -> jax.Array: ...

    @property
    def spikes(self) -> jax.Array: ...


def integrated(
    before: _PotentialAndSpikes,
    current: Any,
    decay: Any,
    threshold: Any,
    reset: str,
    detach_reset: bool,
) -> jax.Array:
    """The potential after the decay, the current and the reset.

    Args:
      before: the state after the step before.
      current: what is added.
      decay: the factor of the potential.
      threshold: what a spike subtracts.
      reset: `"subtract"` or `"zero"`.
      detach_reset: whether gradients do not pass through the spikes.
    """
    check_choice(reset, "reset", RESETS)
    check_decay(decay, "decay")
    fired = jax.lax.stop_gradient(before.spikes) if detach_reset else before.spikes
    if reset == "subtract":
        return jnp.asarray(decay * before.potential + current - threshold * fired)
    return jnp.asarray(decay * (before.potential * (1 - fired)) + current)
