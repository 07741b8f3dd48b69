"""Checks of the numbers that an optimiser is given."""

from __future__ import annotations

import math
from typing import Any


def check_number(value: Any, name: str, low: float, high: float) -> None:
    """Refuse a concrete number outside [low, high); a traced one cannot be checked."""
    number = isinstance(value, (int, float))
    if value is None or isinstance(value, str) or (number and not low <= value < high):
        above = "" if high == math.inf else f" and below {high}"
        raise ValueError(
            f"`{name}` must be a finite number of at least {low}{above}, not {value!r}."
        )


def check_positive(value: Any, name: str) -> None:
    """Refuse a concrete number that is not above 0."""
    check_number(value, name, 0, math.inf)
    if isinstance(value, (int, float)) and value == 0:
        raise ValueError(f"`{name}` must be above 0, not {value!r}.")
