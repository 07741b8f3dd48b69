"""Paired differences between runs, with their 95 % intervals, from the records.

m is the margin: a smaller difference counts as none.

| word        | the interval                                    |
|-------------|-------------------------------------------------|
| equal       | lies inside (-m, m)                             |
| higher      | lies wholly above m                             |
| lower       | lies wholly below -m                            |
| not settled | otherwise, whatever it says about 0             |

`_verdict` compares effects with what a claim says.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

from apical.lab.report._summary import final_by_seed
from apical.lab.storage._jsonl import Line

Word = Literal["equal", "higher", "lower", "not settled"]
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
        runs: of accuracies, the fields that select the lines of the two runs.
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
    def word(self) -> Word:
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
        runs: of accuracies, the fields that select the lines of the two runs.

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


# ---- Final accuracies, read from the records


def lines_where(lines: Sequence[Line], **fields: Any) -> list[Line]:
    """The lines in which all these fields have these values."""
    return [ln for ln in lines if all(ln.get(k) == v for k, v in fields.items())]


def final_values(
    lines: Sequence[Line], field: str = "test_accuracy", **fields: Any
) -> dict[int, float]:
    """A measure after the last epoch, by seed, of the lines with these fields.

    A seed that diverged or was refused has none.
    """
    return final_by_seed(lines_where(lines, **fields), field)


def in_percent(values: dict[int, float]) -> dict[int, float]:
    """Fractions as points."""
    return {seed: 100 * value for seed, value in values.items()}


def paired_difference(
    what: str,
    lines: Sequence[Line],
    runs: tuple[Where, Where],
    margin: float,
    compared: int = 1,
    lost: float | None = None,
) -> Effect:
    """The difference of two runs' last accuracies (points), paired by seed.

    Args:
        what: what is compared with what.
        lines: of the claim.
        runs: the fields that select the lines of each run.
        margin: what counts as no difference, in points.
        compared: how many comparisons are made together.
        lost: the accuracy of a seed that diverged; None: it is left out.

    Example:
        >>> def line(rule, seed, accuracy):
        ...     return {"rule": rule, "seed": seed, "epoch": 1, "epochs": 1,
        ...             "test_accuracy": accuracy, "status": "ok"}
        >>> lines = [line("a", seed, 0.9 + 0.001 * seed) for seed in range(5)]
        >>> lines += [line("b", seed, 0.85) for seed in range(5)]
        >>> found = paired_difference("a - b", lines, ({"rule": "a"}, {"rule": "b"}), 1)
        >>> round(found.mean, 2), found.word
        (5.2, 'higher')
    """
    mine, other = (_last_points(lines, where, lost) for where in runs)
    return effect(what, mine, other, margin, compared, runs)


def _last_points(
    lines: Sequence[Line], where: Where, lost: float | None
) -> dict[int, float]:
    here = lines_where(lines, **where)
    every = {} if lost is None else {line["seed"]: lost for line in here}
    return every | in_percent(final_by_seed(here, "test_accuracy"))
