"""What the numbers of an optimiser may be."""

from __future__ import annotations

import math
from typing import Any


def check_number(name: str, value: Any, low: float, high: float) -> None:
    """Refuse a concrete number outside [low, high); a traced one cannot be checked."""
    number = isinstance(value, (int, float))
    if value is None or isinstance(value, str) or (number and not low <= value < high):
        above = "" if high == math.inf else f" and below {high}"
        raise ValueError(
            f"`{name}` must be a finite number of at least {low}{above}, not {value!r}."
        )
