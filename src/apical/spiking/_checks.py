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
    if isinstance(value, str) or value is None:
        raise ValueError(f"`{name}` must be a number or an array, not {value!r}.")
    # As a negation, so that NaN is refused.
    if isinstance(value, (int, float)) and not low <= value <= high:
        limit = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        raise ValueError(f"`{name}` must be {limit}, not {value!r}.{hint}")


def check_positive(value: Any, name: str) -> None:
    """Require a finite number above 0; arrays are not checked."""
    check_number(value, name, 0, math.inf)
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


def check_kept(old: Any, new: jax.Array, kind: str, **arguments: Any) -> None:
    """Require that a step keeps the shape and dtype of a state's array.

    Args:
      old: the array before the step.
      new: the array after it.
      kind: what to make the state with, for the message.
      arguments: what the step was computed from, by name.
    """
    if jnp.shape(old) == new.shape and jnp.result_type(old) == new.dtype:
        return
    told = ", ".join(
        f"{name} {jnp.result_type(value)}{list(jnp.shape(value))}"
        for name, value in arguments.items()
    )
    raise ValueError(
        f"The state has {jnp.result_type(old)}{list(jnp.shape(old))}, and a step gives "
        f"{new.dtype}{list(new.shape)} ({told}). The state must have the shape and "
        f"dtype of what is computed from it and these arguments: make it by `{kind}` "
        "with that shape and dtype, or change the argument."
    )


def concrete(value: Any) -> np.ndarray | None:
    """The numbers of an array, or None while JAX traces it."""
    try:
        return np.asarray(value)
    except jax.errors.TracerArrayConversionError:
        return None
