"""Closed forms of the potential of a LIF neuron with exponential synapses.

    tau_m V' = -V + I,      tau_s I' = -I

Between two events, a time d after V = V0 and I = I0,

    I(d) = I0 exp(-d / tau_s),      V(d) = V0 exp(-d / tau_m) + I0 kappa(d)
    kappa(d) = tau_s / (tau_m - tau_s) (exp(-d / tau_m) - exp(-d / tau_s))

and kappa(d) = (d / tau) exp(-d / tau) where both time constants are equal. All forms
here hold for equal, nearly equal and unequal time constants in either order, because
the difference of the time constants never stands in a denominator alone.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

_SERIES = 0.25  # below it, (1 - exp(-x)) / x is summed as a series
_TERMS = 12  # enough for float64 there: 0.25^12 / 13! = 1e-17
_NEWTON_STEPS = 8
# Why Newton's method converges: up to its peak the potential is concave. A step from
# anywhere ends left of the crossing; from there every step moves right, not past it.


def response(lag: jax.Array, tau_m: jax.Array, tau_s: jax.Array) -> jax.Array:
    """The potential kappa(lag) that one input of weight 1 causes; 0 before it.

    With x = lag |1/tau_s - 1/tau_m| and phi(x) = (1 - exp(-x)) / x it is
    (lag / tau_m) exp(-lag / max(tau_m, tau_s)) phi(x), which is smooth in both time
    constants. Its derivatives are finite everywhere; at lag = 0 they are those of the
    left side, 0.
    """
    inside = (lag > 0) & (lag < jnp.inf)
    d = jnp.where(inside, lag, 0.0)
    # At a tie each has half the derivative, which is what is right here.
    slow, fast = jnp.maximum(tau_m, tau_s), jnp.minimum(tau_m, tau_s)
    gap = (slow - fast) / (slow * fast)
    decay = jnp.exp(-d / slow)
    return jnp.where(inside, d / tau_m * decay * _mean_decay(d * gap), 0.0)


def _mean_decay(x: jax.Array) -> jax.Array:
    """(1 - exp(-x)) / x for x >= 0, with an exact derivative at 0."""
    small = x < _SERIES
    near = jnp.where(small, x, 0.0)
    series = jnp.ones_like(x)
    for n in range(_TERMS, 0, -1):
        series = 1 - near / (n + 1) * series
    far = jnp.where(small, 1.0, x)
    return jnp.where(small, series, -jnp.expm1(-far) / far)


def advance(
    v: jax.Array, i: jax.Array, d: jax.Array, tau_m: jax.Array, tau_s: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Potential and current a time `d` later, without an event in between."""
    later = v * jnp.exp(-d / tau_m) + i * response(d, tau_m, tau_s)
    return later, i * jnp.exp(-d / tau_s)


def peak(
    v: jax.Array, i: jax.Array, tau_m: jax.Array, tau_s: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """How long the potential rises, and where its rise ends.

    V' = 0 where I = V. With r = V0 / I0 and y = (1 - tau_s / tau_m) (1 - r) that is
    after the time -tau_s (1 - r) log(1 - y) / y. The time is 0 where the potential
    falls, and where it only rises back to rest from below (y >= 1).
    """
    rises = (i > v) & (i > 0)
    short = 1 - v / jnp.where(rises, i, 1.0)
    y = (1 - tau_s / tau_m) * short
    rises &= y < 1
    y = jnp.where(rises, y, 0.0)
    ratio = jnp.where(y == 0, 1.0, -jnp.log1p(-y) / jnp.where(y == 0, 1.0, y))
    d = jnp.where(rises, tau_s * short * ratio, 0.0)
    return d, jnp.where(rises, i * jnp.exp(-d / tau_s), v)


def crossing(
    v: jax.Array,
    i: jax.Array,
    limit: jax.Array,
    tau_m: jax.Array,
    tau_s: jax.Array,
    threshold: jax.Array,
) -> jax.Array:
    """How long until the potential crosses the threshold; inf if not before `limit`."""
    top_at, top = peak(v, i, tau_m, tau_s)
    reached, _ = advance(v, i, jnp.minimum(top_at, limit), tau_m, tau_s)
    crosses = jnp.where(top_at <= limit, top, reached) >= threshold
    d = solve_crossing(v, i, top_at, top, tau_m, tau_s, threshold)
    return jnp.where(crosses, jnp.minimum(d, limit), jnp.inf)


def solve_crossing(
    v: jax.Array,
    i: jax.Array,
    top_at: jax.Array,
    top: jax.Array,
    tau_m: jax.Array,
    tau_s: jax.Array,
    threshold: jax.Array,
) -> jax.Array:
    """The time of a crossing that is known to come before the peak.

    The first guess is where the parabola at the peak does: tau_m tau_s V'' = -V there.
    """
    above = jnp.maximum(top - threshold, 0.0) / jnp.where(top > 0, top, 1.0)
    guess = jnp.maximum(top_at - jnp.sqrt(2 * above * tau_m * tau_s), 0.0)
    tiny = jnp.finfo(v.dtype).tiny

    def newton(_: int, d: jax.Array) -> jax.Array:
        now, current = advance(v, i, d, tau_m, tau_s)
        slope = jnp.maximum((current - now) / tau_m, tiny)
        return jnp.clip(d + (threshold - now) / slope, 0.0, top_at)

    return lax.fori_loop(0, _NEWTON_STEPS, newton, guess)
