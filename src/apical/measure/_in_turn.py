"""Times of several calls, taken in turn, so that other load meets all of them alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

# A shorter turn would measure the clock and the dispatch.
_SHORTEST_TURN = 2e-3


def in_turn(calls: Sequence[Callable[[], Any]], rounds: int) -> np.ndarray:
    """Seconds per call: one row for each of the calls, one column for each round.

    Every other round goes backwards, so that none always follows the same other one. A
    short call is repeated within its turn.
    """
    repeats = [_repeats(call) for call in calls]
    seconds = np.zeros((len(calls), rounds))
    for turn in range(rounds):
        for which in range(len(calls))[:: 1 if turn % 2 == 0 else -1]:
            seconds[which, turn] = _seconds(calls[which], repeats[which])
    return seconds


def _repeats(call: Callable[[], Any]) -> int:
    _seconds(call, 2)  # the first calls are slower
    return max(1, math.ceil(_SHORTEST_TURN / _seconds(call, 1)))


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(call())
    return (time.perf_counter() - start) / repeats
