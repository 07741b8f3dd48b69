"""Exponential traces of spikes: sums over all spikes, and since the last spike.

    all       x_t = d x_{t-1} + s_t                    d = exp(-1 / tau)
    nearest   x_t = s_t + (1 - s_t) d x_{t-1}

`before` is d x_{t-1}: the trace of step t without the spike of step t. Time constants
are in steps of the loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import scan


class Trace(NamedTuple):
    """A trace in every step.

    Attributes:
      before: without the step's own spike.
      after: with it.
      end: the value after the last step, which a next window starts from.
    """

    before: jax.Array
    after: jax.Array
    end: jax.Array


def decay(tau: Any) -> jax.Array:
    """The factor exp(-1 / tau) per step; 0 at tau = 0, and 1 at infinity."""
    tau = jnp.asarray(tau, jnp.result_type(float))
    memory = tau > 0
    return jnp.where(memory, jnp.exp(-1 / jnp.where(memory, tau, 1.0)), 0.0)


def trace(
    spikes: jax.Array, tau: Any, start: jax.Array, *, nearest: bool = False
) -> Trace:
    """The trace of spikes, with time on the first axis.

    Args:
      spikes: `[steps, ...]`.
      tau: the time constant, in steps.
      start: the value after the step before the first, `[...]`.
      nearest: whether a spike sets the trace to 1, rather than adding 1.
    """
    factor = decay(tau).astype(start.dtype)

    def step(last: jax.Array, now: jax.Array) -> Any:
        before = factor * last
        after = now + ((1 - now) * before if nearest else before)
        return after, (before, after)

    end, (before, after) = scan(step, start, spikes.astype(start.dtype))
    return Trace(before, after, end)


def later_sum(signal: jax.Array, factor: jax.Array) -> jax.Array:
    """What a signal is to an eligibility of each step that decays by a factor.

        sum_{t >= s} factor^(t - s) signal_t

    Args:
      signal: `[steps, ...]`.
      factor: of decay per step.
    """

    def step(later: jax.Array, now: jax.Array) -> Any:
        total = now + factor.astype(now.dtype) * later
        return total, total

    return scan(step, jnp.zeros_like(signal[0]), signal, reverse=True)[1]
