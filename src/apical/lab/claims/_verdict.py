"""Verdicts, from the numbers alone.

An effect is the paired difference across seeds with its 95 % interval; m is a margin,
what counts as no difference.

| word        | the interval                                    |
|-------------|-------------------------------------------------|
| equal       | lies inside (-m, m)                             |
| higher      | lies wholly above m                             |
| lower       | lies wholly below -m                            |
| not settled | otherwise, whatever it says about 0             |

Whether higher is what a claim says of a measure is the claim's matter (`_decide`).
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

Word = Literal["holds", "holds within limits", "does not hold", "not settled"]
Size = Literal["equal", "higher", "lower", "not settled"]
Where = Mapping[str, Any]
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
        runs: of accuracies, the fields by which the lines of the two runs are known.
    """

    what: str
    mean: float
    low: float
    high: float
    margin: float
    seeds: int
    runs: tuple[Where, ...] = ()

    @property
    def known(self) -> bool:
        """Whether there are enough seeds to say anything."""
        return self.seeds >= LEAST_SEEDS and not math.isnan(self.low)

    @property
    def word(self) -> Size:
        """`"equal"`, `"higher"` or `"lower"` by more than m, or `"not settled"`."""
        if not self.known:
            return "not settled"
        if -self.margin < self.low and self.high < self.margin:
            return "equal"
        if self.low > self.margin:
            return "higher"
        return "lower" if self.high < -self.margin else "not settled"


def effect(
    what: str,
    mine: Mapping[int, float],
    other: Mapping[int, float],
    margin: float,
    compared: int = 1,
    runs: tuple[Where, ...] = (),
) -> Effect:
    """The paired difference of two measures by seed, `mine - other`.

    Args:
        what: what is compared with what.
        mine: a measure by seed.
        other: the same of the reference.
        margin: what counts as no difference, in the same units.
        compared: how many comparisons are made together: each interval then holds at
            1 - 0.05/compared (Bonferroni).
        runs: of accuracies, the fields by which the lines of the two runs are known.

    Example:
        >>> found = effect("a - b", dict(enumerate([2, 3, 4, 3, 3])),
        ...                dict(enumerate([1, 2, 3, 2, 1])), margin=0.5)
        >>> round(found.mean, 3), found.word
        (1.2, 'higher')
    """
    seeds = [seed for seed in mine if seed in other]
    differences = np.array([mine[seed] - other[seed] for seed in seeds], dtype=float)
    mean = float(differences.mean()) if len(seeds) else math.nan
    half = math.nan
    if len(seeds) > 1:
        error = float(stats.sem(differences))
        half = float(stats.t.ppf(1 - 0.025 / compared, len(seeds) - 1)) * error
    return Effect(what, mean, mean - half, mean + half, margin, len(seeds), runs)
