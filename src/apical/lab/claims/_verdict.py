"""Verdicts, from the numbers alone.

An effect is the paired difference across seeds with its 95 % interval.

| word          | the interval                                             |
|---------------|----------------------------------------------------------|
| equal         | lies inside (-m, m)                                      |
| better, worse | does not contain 0 (corrected where many are compared)   |
| not settled   | otherwise                                                |

An effect may be equal and better at once: different beyond doubt, by less than matters.
Then it is called equal.
"""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

Word = Literal["holds", "holds within limits", "does not hold", "not settled"]
LEAST_SEEDS = 5


class Effect(NamedTuple):
    """A paired difference.

    Attributes:
        what: what is compared with what.
        mean: the mean difference, in the units of the measure (points of accuracy).
        low: the lower end of its interval.
        high: the upper end.
        margin: what counts as no difference.
        seeds: how many pairs there are.
    """

    what: str
    mean: float
    low: float
    high: float
    margin: float
    seeds: int

    @property
    def word(self) -> str:
        """`"equal"`, `"better"`, `"worse"` or `"not settled"`."""
        if self.seeds < LEAST_SEEDS or math.isnan(self.low):
            return "not settled"
        if -self.margin < self.low and self.high < self.margin:
            return "equal"
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not settled"

    @property
    def at_least_equal(self) -> bool:
        """Whether it is equal or better."""
        return self.word in ("equal", "better")


class Verdict(NamedTuple):
    """What the numbers say of a claim.

    Attributes:
        word: one of four.
        because: the numbers that decided, in a sentence.
        effects: every effect that was looked at.
    """

    word: Word
    because: str
    effects: tuple[Effect, ...] = ()


def effect(
    what: str,
    mine: Mapping[int, float],
    other: Mapping[int, float],
    margin: float,
    compared: int = 1,
) -> Effect:
    """The paired difference of two measures by seed, `mine - other`.

    Args:
        what: what is compared with what.
        mine: a measure by seed.
        other: the same of the reference.
        margin: what counts as no difference, in the same units.
        compared: how many comparisons are made together: each interval then holds at
            1 - 0.05/compared (Bonferroni).

    Example:
        >>> found = effect("a - b", dict(enumerate([2, 3, 4, 3, 3])),
        ...                dict(enumerate([1, 2, 3, 2, 1])), margin=0.5)
        >>> round(found.mean, 3), found.word
        (1.2, 'better')
    """
    seeds = [seed for seed in mine if seed in other]
    differences = np.array([mine[seed] - other[seed] for seed in seeds], dtype=float)
    if len(seeds) < 2:
        mean = float(differences.mean()) if len(seeds) else math.nan
        return Effect(what, mean, math.nan, math.nan, margin, len(seeds))
    mean, error = differences.mean(), stats.sem(differences)
    half = stats.t.ppf(1 - 0.025 / compared, len(seeds) - 1) * error
    return Effect(
        what, float(mean), float(mean - half), float(mean + half), margin, len(seeds)
    )


def told(found: Effect, unit: str = "points") -> str:
    """An effect in words."""
    if math.isnan(found.mean):
        return f"{found.what}: not run"
    if math.isnan(found.low):
        return f"{found.what}: {found.mean:+.2f} {unit}, too few seeds"
    return (
        f"{found.what}: {found.mean:+.2f} {unit} "
        f"[{found.low:+.2f}, {found.high:+.2f}], {found.word}"
    )
