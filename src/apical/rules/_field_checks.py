"""Checks of the values that a rule's fields are given."""

from __future__ import annotations

import math
from typing import Any


def check_fraction(value: Any, name: str) -> None:
    """Require a number in [0, 1]; traced numbers are not checked."""
    wrong = isinstance(value, (int, float)) and not 0 <= value <= 1
    if wrong or isinstance(value, (str, list, tuple)):
        raise ValueError(f"`{name}` is a fraction between 0 and 1, not {value!r}.")


def check_whole(value: Any, name: str) -> None:
    """Require a positive integer."""
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"`{name}` must be a whole number above 0, not {value!r}.")


def check_positive(value: Any, name: str, or_zero: bool = False) -> None:
    """Require a finite number above 0 (or at least 0); traced ones are not checked."""
    # To compare tree structures, JAX builds rules with False in place of numbers.
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    lowest = 0.0 if or_zero else math.nextafter(0.0, 1.0)
    if isinstance(value, (str, list, tuple)) or (
        number and not lowest <= value < math.inf
    ):
        least = "of at least" if or_zero else "above"
        raise ValueError(f"`{name}` must be a finite number {least} 0, not {value!r}.")


def check_transformation(value: Any, name: str) -> None:
    """Require an optax transformation."""
    if isinstance(value, type) or not (
        callable(getattr(value, "init", None))
        and callable(getattr(value, "update", None))
    ):
        raise TypeError(
            f"`{name}` must be an optax transformation, as `optax.adam(1e-3)` makes "
            f"one, not {value!r}."
        )


def check_choice(value: Any, name: str, choices: tuple[str, ...]) -> None:
    """Require one of the choices."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}, not {value!r}.")
