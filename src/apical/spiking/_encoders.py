"""Encoders: numbers as spikes. Time is the first axis of what they return.

poisson               the number is a rate
latency               the number is the time of one spike: larger, earlier
threshold_crossing    a spike at each level that a signal crosses
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from ._checks import check_count, check_number, check_positive, concrete


def poisson(
    key: jax.Array,
    rates: Any,
    steps: int | None = None,
    *,
    dt: float = 1.0,
    dtype: Any = None,
) -> jax.Array:
    """Independent spikes at given rates.

        P(s_t = 1) = rate dt

    A step holds one spike at most, so that this is a Poisson process for rate dt << 1.

    Args:
      key: of `jax.random`.
      rates: in spikes per unit of time: of any shape, the same in each step; or with
        `steps=None` of shape `[T, ...]`, one for each step.
      steps: the number of steps T.
      dt: the length of a step: 1e-3 for rates in Hz and steps of 1 ms.
      dtype: of the spikes; by default that of the rates, or of JAX's floats.

    Returns:
      Spikes, 0 or 1, of shape `[T, *rates.shape]`, or `rates.shape` with `steps=None`.

    Raises:
      ValueError: for a rate below 0, or above 1 / dt. While JAX traces, where rates
        have no values, the spikes of such a rate are NaN instead.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from apical import spiking
      >>> rates = jnp.array([0.0, 40.0, 1000.0])  # Hz
      >>> spikes = spiking.poisson(jax.random.key(0), rates, 2000, dt=1e-3)
      >>> print(spikes.shape, spikes.mean(axis=0))
      (2000, 3) [0.   0.04 1.  ]
    """
    if steps is not None:
        check_count(steps, "steps")
    check_positive(dt, "dt")
    dtype = _float_of(rates) if dtype is None else jnp.dtype(dtype)
    chance = jnp.asarray(rates) * dt
    found = concrete(chance)
    if found is not None and not ((found >= 0) & (found <= 1)).all():
        raise ValueError(
            f"`rates` must be from 0 to 1 / dt = {1 / dt:g}: a step holds one spike at "
            f"most. They are from {found.min() / dt:g} to {found.max() / dt:g}; take a "
            "shorter `dt`."
        )
    shape = chance.shape if steps is None else (steps, *chance.shape)
    spikes = jax.random.bernoulli(key, chance, shape).astype(dtype)
    return jnp.where((chance >= 0) & (chance <= 1), spikes, jnp.nan)


def latency(
    values: Any,
    steps: int,
    *,
    time_constant: float | None = None,
    threshold: float = 0.0,
    dtype: Any = None,
) -> jax.Array:
    """One spike for each number: the larger the number, the earlier the spike.

        t = round((1 - x) (T - 1))                            time_constant=None
        t = round(time_constant log(x / (x - threshold)))     otherwise

    The second is when a leaky integrator that is driven by x reaches the threshold. A
    number of at most `threshold`, and one whose time is not before T, gives no spike.

    Args:
      values: x, from 0 to 1, of any shape.
      steps: the number of steps T.
      time_constant: of the integrator, in steps; None: times are linear in x.
      threshold: what a number must exceed, below 1; with a time constant, above 0.
      dtype: of the spikes; by default that of the values, or of JAX's floats.

    Returns:
      Spikes, 0 or 1, of shape `[T, *values.shape]`: one in each column, or none.

    Raises:
      ValueError: for values that are not from 0 to 1 (NaN spikes, while JAX traces), or
        a threshold or time constant out of its range.

    Example:
      >>> import jax.numpy as jnp
      >>> from apical import spiking
      >>> spikes = spiking.latency(jnp.array([1.0, 0.5, 0.0]), steps=3)
      >>> print(spikes.T)  # a row for each number
      [[1. 0. 0.]
       [0. 1. 0.]
       [0. 0. 0.]]

    Source: Thorpe, Delorme & Van Rullen 2001, Neural Networks 14:715-725.
    """
    check_count(steps, "steps")
    check_number(threshold, "threshold", 0, 1)
    dtype = _float_of(values) if dtype is None else jnp.dtype(dtype)
    x = jnp.asarray(values, _float_of(values))
    found = concrete(x)
    if found is not None and not ((found >= 0) & (found <= 1)).all():
        raise ValueError(
            f"`values` must be from 0 to 1, not from {found.min():g} to "
            f"{found.max():g}: divide them by the largest that there can be."
        )
    if time_constant is None:
        time = (1 - x) * (steps - 1)
    else:
        check_positive(time_constant, "time_constant")
        check_positive(threshold, "threshold")
        above = jnp.where(x > threshold, x - threshold, 1)
        time = time_constant * jnp.log(x / above)
    time = jnp.where(x > threshold, jnp.round(time), math.inf)
    steps_axis = jnp.arange(steps).reshape(steps, *[1] * x.ndim)
    spikes = (time == steps_axis).astype(dtype)
    return jnp.where((x >= 0) & (x <= 1), spikes, jnp.nan)


def threshold_crossing(signal: Any, levels: Any, *, dtype: Any = None) -> jax.Array:
    """A spike at each level that a signal crosses, upwards and downwards apart.

        up_t    = 1 if x_{t-1} < level <= x_t          (the first half of the last axis)
        down_t  = 1 if x_t < level <= x_{t-1}          (the second half)

    The first step has no step before it, and no spikes. With the encoding of sequential
    MNIST in LSNN, 40 levels make 80 inputs.

    Args:
      signal: x, of shape `[T, ...]`.
      levels: L numbers.
      dtype: of the spikes; by default that of the signal, or of JAX's floats.

    Returns:
      Spikes, 0 or 1, of shape `[T, ..., 2 L]`.

    Raises:
      ValueError: for a signal without an axis of time, levels that are not one row of
        numbers, or NaN among them (NaN spikes, while JAX traces).

    Example:
      >>> import jax.numpy as jnp
      >>> from apical import spiking
      >>> signal = jnp.array([0.0, 0.4, 0.9, 0.1])
      >>> print(spiking.threshold_crossing(signal, [0.25, 0.75]).T)
      [[0. 1. 0. 0.]
       [0. 0. 1. 0.]
       [0. 0. 0. 1.]
       [0. 0. 0. 1.]]

    Source: Bellec, Salaj, Subramoney, Legenstein & Maass 2018, NeurIPS, for images row
    by row.
    """
    dtype = _float_of(signal) if dtype is None else jnp.dtype(dtype)
    x, levels = jnp.asarray(signal), jnp.asarray(levels)
    if not x.ndim:
        raise ValueError("`signal` must have time as its first axis; it is one number.")
    if levels.ndim != 1 or not levels.size:
        raise ValueError(f"`levels` must be a row of numbers, not of {levels.shape}.")
    found = concrete(x), concrete(levels)
    for name, each in zip(("signal", "levels"), found, strict=True):
        if each is not None and jnp.isnan(each).any():
            raise ValueError(f"`{name}` has entries that are NaN.")
    reached = x[..., None] >= levels
    before = jnp.concatenate([reached[:1], reached[:-1]])
    crossed = [reached & ~before, before & ~reached]
    spikes = jnp.concatenate(crossed, axis=-1).astype(dtype)
    lost = jnp.isnan(x)[..., None] | jnp.isnan(levels).any()
    return jnp.where(lost, jnp.nan, spikes)


def _float_of(values: Any) -> Any:
    """The dtype of spikes made from values."""
    dtype = jnp.result_type(values)
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)
