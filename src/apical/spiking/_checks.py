"""Checks of the arguments of neurons, encoders and read-outs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def check_choice(value: Any, name: str, choices: Sequence[str]) -> None:
    """Require one of a few words."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {list(choices)}, not {value!r}.")


def check_number(
    value: Any, name: str, low: float, high: float, hint: str = ""
) -> None:
    """Require a number from `low` to `high`; arrays are not checked."""
    _check_array(value, name)
    # As a negation, so that NaN is refused.
    if isinstance(value, (int, float)) and not low <= value <= high:
        raise ValueError(f"`{name}` must be from {low} to {high}, not {value!r}.{hint}")


def check_positive(value: Any, name: str) -> None:
    """Require a finite number above 0; arrays are not checked."""
    _check_array(value, name)
    if isinstance(value, (int, float)) and not 0 < value < math.inf:
        raise ValueError(f"`{name}` must be finite and above 0, not {value!r}.")


def check_decay(value: Any, name: str) -> None:
    """Require a factor from 0 to 1; arrays are not checked."""
    hint = (
        " It is the factor by which a value falls in one step; "
        "`apical.spiking.decay_factor(time_constant, dt)` gives it."
    )
    check_number(value, name, 0, 1, hint)


def check_count(value: Any, name: str, least: int = 1) -> None:
    """Require a Python integer of at least `least`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(f"`{name}` must be a whole number >= {least}, not {value!r}.")


def check_step(state: Any, made_by: str, **arguments: Any) -> None:
    """Require that a step will keep the shape and dtype of an array of the state.

    Args:
      state: the array.
      made_by: what makes a state, for the message.
      arguments: what the step computes with, by name.
    """
    shape, dtype = jnp.shape(state), jnp.result_type(state)
    for name, value in arguments.items():
        _check_array(value, name)
        if not _broadcasts(jnp.shape(value), shape):
            raise ValueError(
                f"`{name}` has shape {jnp.shape(value)}, which does not broadcast to "
                f"the shape {shape} of the state. Make the state by `{made_by}` with "
                "the shape of the current."
            )
        if jnp.result_type(state, value) != dtype:
            raise ValueError(
                f"`{name}` is {jnp.result_type(value)} and the state {dtype}, which "
                f"would change the state. Make it by `{made_by}` with that dtype, or "
                f"convert `{name}` by `astype`."
            )


def _check_array(value: Any, name: str) -> None:
    if isinstance(value, str) or value is None:
        raise ValueError(f"`{name}` must be a number or an array, not {value!r}.")


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(n in (1, m) for n, m in pairs)


def concrete(value: Any) -> np.ndarray | None:
    """The numbers of an array, or None while JAX traces it."""
    try:
        return np.asarray(value)
    except jax.errors.TracerArrayConversionError:
        return None
