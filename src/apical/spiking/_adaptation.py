"""What else a neuron's own spikes do to it: adaptive thresholds, refractory times.

    a_t = adaptation_decay a_{t-1} + s_{t-1}
    A_t = threshold + adaptation_strength a_t,            s_t = H(v_t - A_t)

The spikes are those of the step before, so that these parts compose with any neuron.
Bellec et al. 2018, 2020: networks with such neurons (LSNN) keep information for as long
as the threshold remembers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ._checks import check_count, check_decay, check_step
from ._integrate_and_fire import DEFAULT_SPIKE, integrated
from ._surrogates import SpikeFunction


def adaptive_threshold(
    adaptation: Any,
    spikes: Any,
    *,
    decay: Any,
    strength: Any,
    threshold: Any = 1.0,
) -> tuple[jax.Array, jax.Array]:
    """A threshold that rises with every spike and falls back slowly.

        a_t = decay a_{t-1} + s_{t-1},            A_t = threshold + strength a_t

    For a neuron of your own, or for `lif`, which then subtracts A_t at a spike, where
    `alif` subtracts the threshold at rest.

    Args:
      adaptation: a_{t-1}; zeros of the shape of the neurons at first.
      spikes: s_{t-1}, the spikes of the step before (`state.spikes`).
      decay: the factor per step of the adaptation, from 0 to 1. A number, or an array
        that broadcasts to the adaptation, which may be learned.
      strength: the rise of the threshold with each spike, in units of the potential.
      threshold: the threshold at rest.

    Returns:
      The next adaptation a_t, and the threshold A_t for this step.

    Raises:
      ValueError: for a decay out of its range, or arguments that would change the shape
        or dtype of the adaptation.

    Example:
      >>> import jax.numpy as jnp
      >>> from apical import spiking
      >>> adaptation, spikes = jnp.zeros(2), jnp.array([0.0, 1.0])
      >>> adaptation, threshold = spiking.adaptive_threshold(
      ...     adaptation, spikes, decay=0.9, strength=0.5
      ... )
      >>> print(threshold)
      [1.  1.5]

    Source: Bellec, Salaj, Subramoney, Legenstein & Maass 2018, NeurIPS.
    """
    check_decay(decay, "decay")
    told = {"spikes": spikes, "decay": decay, "strength": strength}
    check_step(adaptation, "jnp.zeros", **told, threshold=threshold)
    a = jnp.asarray(decay * adaptation + spikes)
    return a, jnp.asarray(threshold + strength * a)


class ALIFState(NamedTuple):
    """The state of `alif` after a step.

    Attributes:
      potential: v, as it was compared with the threshold, before the reset.
      adaptation: a, a decaying count of the spikes before this step.
      spikes: s, 0 or 1.
    """

    potential: jax.Array
    adaptation: jax.Array
    spikes: jax.Array

    @classmethod
    def initial(cls, shape: tuple[int, ...], dtype: Any = None) -> ALIFState:
        """Potentials of 0, thresholds at rest and no spikes."""
        zeros = jnp.zeros(shape, float if dtype is None else dtype)
        return cls(zeros, zeros, zeros)


def alif(
    state: ALIFState,
    current: Any,
    *,
    decay: Any,
    adaptation_decay: Any,
    adaptation_strength: Any,
    threshold: Any = 1.0,
    reset: str = "subtract",
    detach_reset: bool = True,
    spike: SpikeFunction = DEFAULT_SPIKE,
) -> tuple[ALIFState, jax.Array]:
    """A step of leaky integrate-and-fire neurons with adaptive thresholds.

        a_t = adaptation_decay a_{t-1} + s_{t-1}
        v_t = decay v_{t-1} + I_t - threshold s_{t-1}         reset="subtract"
        v_t = decay v_{t-1} (1 - s_{t-1}) + I_t               reset="zero"
        s_t = H(v_t - threshold - adaptation_strength a_t)

    The reset subtracts the threshold at rest, as in e-prop. LSNN of 2018 scales each
    rise by 1 - adaptation_decay: scale the strength. A strength of 0 makes a neuron a
    `lif`, and an array of strengths mixes both kinds.

    Args:
      state: `ALIFState.initial(shape, dtype)` at first.
      current: I_t, with the shape of the state.
      decay: the factor per step of the potential, from 0 to 1. This and the other
        numbers may be arrays that broadcast to the state, and learned.
      adaptation_decay: the factor per step of the adaptation, from 0 to 1; near 1 for
        a long memory.
      adaptation_strength: the rise of the threshold with each spike, in units of the
        potential.
      threshold: the threshold at rest.
      reset: `"subtract"` or `"zero"`.
      detach_reset: whether gradients do not pass through s_{t-1} in the reset. Through
        s_{t-1} in the adaptation they always pass.
      spike: from v_t - A_t to spikes. e-prop divides by the threshold at rest:
        `triangle(threshold, height=0.3 / threshold)`.

    Returns:
      The next state, and its spikes s_t.

    Raises:
      ValueError: for an unknown reset, a decay out of its range, or arguments that
        would change the shape or dtype of the state.

    Example:
      >>> from functools import partial
      >>> import jax, jax.numpy as jnp
      >>> from apical import spiking
      >>> currents = jnp.full((8, 1), 1.2)
      >>> step = partial(
      ...     spiking.alif, decay=0.5, adaptation_decay=0.9, adaptation_strength=0.5
      ... )
      >>> state, spikes = jax.lax.scan(step, spiking.ALIFState.initial((1,)), currents)
      >>> print(spikes[:, 0])  # ever more slowly
      [1. 0. 1. 0. 0. 1. 0. 0.]

    Source: Bellec et al. 2020, Nature Communications 11:3625, equations 6 to 8.
    """
    check_decay(adaptation_decay, "adaptation_decay")
    told = {"adaptation_decay": adaptation_decay, "decay": decay, "current": current}
    told |= {"adaptation_strength": adaptation_strength, "threshold": threshold}
    check_step(state.potential, "ALIFState.initial", **told)
    adaptation, threshold_now = adaptive_threshold(
        state.adaptation,
        state.spikes,
        decay=adaptation_decay,
        strength=adaptation_strength,
        threshold=threshold,
    )
    potential = integrated(state, current, decay, threshold, reset, detach_reset)
    spikes = spike(potential - threshold_now)
    return ALIFState(potential, adaptation, spikes), spikes


def refractory(
    counter: jax.Array, spikes: jax.Array, *, steps: int
) -> tuple[jax.Array, jax.Array]:
    """Silence after each spike, for neurons of any kind.

        s'_t       = s_t if counter_{t-1} = 0 else 0
        counter_t  = steps if s'_t > 0 else max(counter_{t-1} - 1, 0)

    The derivative of a spike that is suppressed is 0. Give the neurons the spikes that
    are left, so that only these reset them:

        state, spikes = spiking.lif(state, current, decay=decay)
        counter, spikes = spiking.refractory(counter, spikes, steps=5)
        state = state._replace(spikes=spikes)

    Args:
      counter: the steps of silence that are left; whole numbers, 0 at first
        (`jnp.zeros(shape, jnp.int32)`).
      spikes: s_t, of the same shape.
      steps: how many steps after a spike are silent. 0: none.

    Returns:
      The next counter, and the spikes that are left.

    Raises:
      ValueError: for a number of steps that is no whole number of at least 0, or a
        counter with other numbers or another shape than the spikes.

    Example:
      >>> from functools import partial
      >>> import jax, jax.numpy as jnp
      >>> from apical import spiking
      >>> step = partial(spiking.refractory, steps=2)
      >>> _, spikes = jax.lax.scan(step, jnp.zeros(1, jnp.int32), jnp.ones((6, 1)))
      >>> print(spikes[:, 0])
      [1. 0. 0. 1. 0. 0.]
    """
    check_count(steps, "steps", 0)
    if not jnp.issubdtype(jnp.result_type(counter), jnp.integer):
        raise ValueError(
            "`counter` must be whole numbers, such as `jnp.zeros(shape, jnp.int32)`, "
            f"not {jnp.result_type(counter)}."
        )
    if jnp.shape(counter) != jnp.shape(spikes):
        raise ValueError(
            f"`counter` has shape {jnp.shape(counter)}, and `spikes` "
            f"{jnp.shape(spikes)}: they must be the same."
        )
    left = jnp.where(counter > 0, 0, spikes)
    counted = jnp.where(left > 0, steps, jnp.maximum(counter - 1, 0))
    return counted.astype(counter.dtype), left
