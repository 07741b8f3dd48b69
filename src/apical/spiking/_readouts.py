"""Read-outs: one number for each neuron from a sequence whose first axis is time.

    firing_rate         sum_t s_t / T
    last_potential      v_T
    peak_potential      max_t v_t
    first_spike_time    the first t with s_t = 1

`lengths` says how many steps of each example count.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ._checks import concrete


def firing_rate(spikes: Any, lengths: Any = None) -> jax.Array:
    """The mean number of spikes per step.

        r = sum_t s_t / T

    Divide by dt for a rate per unit of time. Linear in the spikes, so that its gradient
    is exact.

    Args:
      spikes: of shape `[T, ...]`.
      lengths: how many of the T steps count, whole numbers from 1 to T, of the shape of
        the first axes after the time: `[B]` for spikes `[T, B, N]`; None: all.

    Returns:
      Of shape `[...]`.

    Raises:
      ValueError: for lengths out of their range (NaN, while JAX traces), or of another
        shape.

    Example:
      >>> import jax.numpy as jnp
      >>> from apical import spiking
      >>> spikes = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
      >>> print(spiking.firing_rate(spikes, lengths=jnp.array([2, 3])))
      [1.         0.33333334]
    """
    spikes = _sequence(spikes, "spikes")
    if lengths is None:
        return jnp.mean(spikes, axis=0)
    lengths = _lengths(lengths, spikes)
    total = jnp.sum(jnp.where(_counted(lengths, spikes), spikes, 0), axis=0)
    return _valid(total / jnp.maximum(lengths, 1), lengths, spikes)


def last_potential(potentials: Any, lengths: Any = None) -> jax.Array:
    """The potential at the last step.

        v_T

    Args:
      potentials: of shape `[T, ...]`; `leaky` returns them.
      lengths: which step is the last, as for `firing_rate`; None: T.

    Returns:
      Of shape `[...]`.

    Raises:
      ValueError: for lengths out of their range (NaN, while JAX traces), or of another
        shape.

    Example:
      >>> import jax.numpy as jnp
      >>> from apical import spiking
      >>> potentials = jnp.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
      >>> print(spiking.last_potential(potentials, lengths=jnp.array([2, 3])))
      [ 2. 30.]
    """
    potentials = _sequence(potentials, "potentials")
    if lengths is None:
        return potentials[-1]
    lengths = _lengths(lengths, potentials)
    index = jnp.clip(lengths - 1, 0, len(potentials) - 1)
    index = jnp.broadcast_to(index, potentials.shape[1:])[None]
    found = jnp.take_along_axis(potentials, index, axis=0)[0]
    return _valid(found, lengths, potentials)


def peak_potential(potentials: Any, lengths: Any = None) -> jax.Array:
    """The largest potential of all steps.

        max_t v_t

    The gradient goes to the step of the peak (in equal parts where several are equal).
    As a read-out it tells apart neurons that never reach their threshold.

    Args:
      potentials: of shape `[T, ...]`.
      lengths: how many of the T steps count, as for `firing_rate`; None: all.

    Returns:
      Of shape `[...]`.

    Raises:
      ValueError: for lengths out of their range (NaN, while JAX traces), or of another
        shape.

    Example:
      >>> import jax.numpy as jnp
      >>> from apical import spiking
      >>> print(spiking.peak_potential(jnp.array([[0.1], [0.7], [0.3]])))
      [0.7]
    """
    potentials = _sequence(potentials, "potentials")
    if lengths is None:
        return jnp.max(potentials, axis=0)
    lengths = _lengths(lengths, potentials)
    counted = jnp.where(_counted(lengths, potentials), potentials, -jnp.inf)
    return _valid(jnp.max(counted, axis=0), lengths, potentials)


def first_spike_time(spikes: Any, lengths: Any = None) -> jax.Array:
    """The number of steps before the first spike; T where there is none.

        t = sum_{t<T} prod_{r<=t} (1 - s_r)

    The product is 1 until the first spike. It is linear in each spike, so that its
    derivative is the exact difference of t with that spike and without it: 0 after the
    first spike, minus the steps to the next one otherwise. A surrogate carries it on to
    the potential.

    Args:
      spikes: 0 or 1, of shape `[T, ...]`.
      lengths: how many of the T steps count, as for `firing_rate`; None: all. Where
        no spike is among them, t is the length.

    Returns:
      Of shape `[...]`, in steps from 0 on.

    Raises:
      ValueError: for lengths out of their range (NaN, while JAX traces), or of another
        shape.

    Example:
      >>> import jax.numpy as jnp
      >>> from apical import spiking
      >>> spikes = jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
      >>> print(spiking.first_spike_time(spikes))
      [1. 3.]
    """
    spikes = _sequence(spikes, "spikes")
    silent = jnp.cumprod(1 - spikes, axis=0)
    if lengths is None:
        return jnp.sum(silent, axis=0)
    lengths = _lengths(lengths, spikes)
    counted = jnp.where(_counted(lengths, spikes), silent, 0)
    return _valid(jnp.sum(counted, axis=0), lengths, spikes)


def _sequence(values: Any, name: str) -> jax.Array:
    values = jnp.asarray(values)
    if not values.ndim or not len(values):
        raise ValueError(
            f"`{name}` must have time as its first axis, not shape {values.shape}."
        )
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise ValueError(
            f"`{name}` must be floating point, not {values.dtype}: convert them by "
            "`astype(float)`."
        )
    return values


def _lengths(lengths: Any, values: jax.Array) -> jax.Array:
    """Lengths, with axes of 1 after them, so that they broadcast to a read-out."""
    lengths = jnp.asarray(lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(f"`lengths` must be whole numbers, not {lengths.dtype}.")
    axes = values.shape[1:]
    if lengths.shape != axes[: lengths.ndim]:
        raise ValueError(
            f"`lengths` has shape {lengths.shape}, but the axes after time are {axes}."
        )
    found = concrete(lengths)
    if (
        found is not None
        and found.size
        and not ((found >= 1) & (found <= len(values))).all()
    ):
        raise ValueError(
            f"`lengths` must be from 1 to the number of steps, {len(values)}; they are "
            f"from {found.min()} to {found.max()}."
        )
    return lengths.reshape(*lengths.shape, *[1] * (len(axes) - lengths.ndim))


def _counted(lengths: jax.Array, values: jax.Array) -> jax.Array:
    steps = jnp.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
    return steps < lengths


def _valid(found: jax.Array, lengths: jax.Array, values: jax.Array) -> jax.Array:
    inside = (lengths >= 1) & (lengths <= len(values))
    return jnp.where(inside, found, jnp.nan).astype(values.dtype)
