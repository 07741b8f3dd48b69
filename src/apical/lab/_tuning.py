"""How much of a score is the draw of the trials: the choice among them, repeated.

    as many trials are drawn, with replacement, from those that there were; the best of
    them on the held-out part is chosen; what it has on the test part is one more answer

Every rule is given the same draws, as it was given the same trials: a difference
between two rules is repeated as a difference.
"""

from typing import Any

import numpy as np

from apical.lab._journal import Line
from apical.lab._labels import HELD_OUT, scored

_DRAWS = 2_000
_WITHIN = (2.5, 97.5)  # percent


def repeated(trials: list[Line]) -> np.ndarray | None:
    """Test scores by draw; None without trials, or where none came to one.

    Example:
        >>> line = {"status": "ok", "held_out_loss": 0.1, "test_accuracy": 0.9}
        >>> found = repeated([line | {"held_out_accuracy": x} for x in (0.8, 0.9)])
        >>> len(found), set(found.tolist())
        (2000, {0.9})
    """
    if not any(map(_is_known, trials)):
        return None
    best_first = sorted(range(len(trials)), key=lambda i: _rank(trials[i]))
    ranks = np.argsort(best_first)
    # One that diverged is chosen where all did: it is right on nothing.
    right = [scored(t) if _is_known(t) else 0.0 for t in trials]
    drawn = np.random.default_rng(0).integers(len(trials), size=(_DRAWS, len(trials)))
    chosen = drawn[np.arange(_DRAWS), ranks[drawn].argmin(axis=1)]
    return np.array(right)[chosen]


def half_width(answers: np.ndarray) -> float:
    """Half of what 95 % of the answers lie within."""
    low, high = np.percentile(answers, _WITHIN)
    return float(high - low) / 2


def _is_known(trial: Line) -> bool:
    measured = (scored(trial, HELD_OUT), scored(trial))
    return trial["status"] == "ok" and None not in measured


def _rank(trial: Line) -> tuple[Any, ...]:
    if not _is_known(trial):
        return (1,)
    return (0, -scored(trial, HELD_OUT), trial["held_out_loss"])
