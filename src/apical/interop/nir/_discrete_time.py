"""Decays per time step from time constants in seconds, and back.

tau dv/dt = v_inf - v      gives      v' = v + k (v_inf - v),     decay = 1 - k
Euler:  k = dt / tau       exact, for an input constant over a step:
k = 1 - exp(-dt / tau)
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

METHODS = ("euler", "exact")


def check_method(method: Any) -> None:
    """Refuse what is no method of discretisation."""
    if method not in METHODS:
        raise ValueError(f'method is {method!r}; it must be "euler" or "exact".')


def check_dt(dt: Any) -> None:
    """Refuse a time step that is no positive number."""
    if isinstance(dt, bool) or not isinstance(dt, int | float | np.number):
        raise TypeError(f"dt is {dt!r}; give the time step in seconds, as 1e-3.")
    if not (np.isfinite(dt) and dt > 0):
        raise ValueError(f"dt is {dt!r}; the time step in seconds must be positive.")


def step_fraction(tau: Any, dt: float, method: str) -> Any:
    """K of the equation above, in float64 where `tau` is known."""
    check_method(method)
    check_dt(dt)
    try:
        known = np.asarray(tau, np.float64)
    except jax.errors.TracerArrayConversionError:
        return dt / tau if method == "euler" else -jnp.expm1(-dt / tau)
    if not np.all(known > 0):
        raise ValueError(f"tau must be positive, in seconds; it is {known.min()}.")
    if method == "exact":
        return -np.expm1(-dt / known)
    # One unit in the last place more is what dt / (dt / k) rounds to.
    if np.any(dt / known > 1 + 1e-6):
        raise ValueError(
            f"tau is {known.min():g} s, shorter than dt = {dt:g} s: Euler's step would "
            'overshoot. Use a smaller dt, or method="exact".'
        )
    return np.minimum(dt / known, 1.0)


def decay_from_tau(tau: Any, *, dt: float, method: str = "euler") -> Any:
    """The factor that a variable with time constant tau keeps in one time step.

        decay = 1 - dt / tau    ("euler")       decay = exp(-dt / tau)    ("exact")

    Computed in float64: a decay in float32 that went through `tau_from_decay` comes
    back as it was.

    Args:
      tau: the time constant, in seconds.
      dt: the time step, in seconds.
      method: the discretisation. norse and snntorch use Euler's.

    Raises:
      ValueError: if tau or dt is not positive, or tau is shorter than dt with Euler.

    Example:
      >>> float(decay_from_tau(20e-3, dt=1e-3))
      0.95
    """
    return 1.0 - step_fraction(tau, dt, method)


def tau_from_decay(decay: Any, *, dt: float, method: str = "euler") -> Any:
    """The time constant, in seconds, of a variable that keeps `decay` in one step.

        tau = dt / (1 - decay)    ("euler")     tau = -dt / log(decay)    ("exact")

    Args:
      decay: at least 0 (above 0 if exact) and below 1. A decay of 1 is a unit that
        does not leak: use `I` or `IF`.
      dt: the time step, in seconds.
      method: the discretisation. norse and snntorch use Euler's.

    Raises:
      ValueError: if a decay lies outside that range.

    Example:
      >>> round(float(tau_from_decay(0.95, dt=1e-3)), 9)
      0.02
    """
    check_method(method)
    check_dt(dt)
    try:
        known = np.asarray(decay, np.float64)
    except jax.errors.TracerArrayConversionError:
        return dt / (1 - decay) if method == "euler" else -dt / jnp.log(decay)
    lowest = 0.0 if method == "euler" else np.nextafter(0.0, 1.0)
    if not np.all((known >= lowest) & (known < 1)):
        raise ValueError(
            f"decay has entries from {known.min():g} to {known.max():g}; with "
            f"method={method!r} they must be {'at least' if lowest == 0 else 'above'} "
            "0 and below 1. A unit with decay 1 does not leak: use I or IF."
        )
    return dt / (1 - known) if method == "euler" else -dt / np.log(known)
