"""The working range of a rule: step sizes around its best that are nearly as good."""

from typing import NamedTuple

from apical.lab._labels import HELD_OUT, scored
from apical.lab._summary import Records

POINTS = 5.0  # of percent below the best trial: still nearly as good


class WorkingRange(NamedTuple):
    """The best trial of a rule, and the trials in a row around it.

    Attributes:
        best: score of the best trial on the held-out part.
        low: the lowest step size in the row.
        high: the highest.
        inside: how many trials the row has.
    """

    best: float
    low: float
    high: float
    inside: int

    @property
    def factor(self) -> float:
        """How many times the lowest step size the highest is."""
        return self.high / self.low


def working_range(trials: Records) -> WorkingRange | None:
    """The trials in a row, by step size, that are within `POINTS` of the best one.

    Args:
        trials: those of one model and one rule.

    Returns:
        The range; it is at least this wide, as no trial lies between it and the next.
        None where every trial diverged.

    Example:
        >>> found = zip((0.1, 0.2, 0.4, 0.8), (0.50, 0.96, 0.97, 0.3))
        >>> trials = [{"learning_rate": a, "held_out_accuracy": b} for a, b in found]
        >>> working_range([trial | {"status": "ok"} for trial in trials])
        WorkingRange(best=0.97, low=0.2, high=0.4, inside=2)
    """
    ordered = sorted(trials, key=lambda trial: trial["learning_rate"])
    scores = [scored(t, HELD_OUT) if ended(t) else None for t in ordered]
    known = [score for score in scores if score is not None]
    if not known:
        return None
    best = max(known)
    good = [score is not None and 100 * (best - score) <= POINTS for score in scores]
    first = last = scores.index(best)
    while first > 0 and good[first - 1]:
        first -= 1
    while last + 1 < len(good) and good[last + 1]:
        last += 1
    rates = [ordered[i]["learning_rate"] for i in (first, last)]
    return WorkingRange(best, *rates, inside=last - first + 1)


def ended(trial: dict[str, object]) -> bool:
    """Whether a trial came to a score."""
    return trial["status"] == "ok" and scored(trial, HELD_OUT) is not None
