"""Checks of the numeric arguments of optimisers."""

from __future__ import annotations

import math
from typing import Any


def check_number(value: Any, name: str, low: float, high: float) -> None:
    """Require a number in [low, high); traced numbers are not checked."""
    number = isinstance(value, (int, float))
    if value is None or isinstance(value, str) or (number and not low <= value < high):
        above = "" if high == math.inf else f" and below {high}"
        raise ValueError(
            f"`{name}` must be a finite number of at least {low}{above}, not {value!r}."
        )


def check_positive(value: Any, name: str) -> None:
    """Require a number above 0; traced numbers are not checked."""
    check_number(value, name, 0, math.inf)
    if isinstance(value, (int, float)) and value == 0:
        raise ValueError(f"`{name}` must be above 0, not {value!r}.")
