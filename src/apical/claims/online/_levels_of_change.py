"""The verdict where tasks change at several rates while a network learns them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from apical.claims._claim import Lines
from apical.claims._effect_size import effect, lines_where
from apical.claims._verdict import Finding, Says

LOST = 100.0  # the error (percent) of a constant answer, also of what diverged
MARGIN = 5.0  # percent of the variance of the target


class Compared(NamedTuple):
    """The rules of a claim, at several levels of change.

    Attributes:
        word: for a level.
        levels: of change, rising.
        slow: those at which the verdict is decided.
        rule: that the claim is about.
        as_low_as: the rule that it is to be as low as.
        control: the rule that it is to be lower than.
        beside: a rule that decides nothing.
        tried: step sizes, rising.
    """

    word: str
    levels: Sequence[float]
    slow: Sequence[float]
    rule: str
    as_low_as: str
    control: str
    beside: str
    tried: Sequence[float]


def errors_by_seed(lines: Lines, rule: str, level: float) -> dict[int, float]:
    """The error (percent) of a rule at a level."""
    found = lines_where(lines, rule=rule, level=level)
    return {line["seed"]: line["error"] for line in found}


def findings_by_level(lines: Lines, of: Compared) -> Iterator[Finding]:
    """At each level the rule beside the three others."""
    others: tuple[tuple[str, Says | None, float], ...] = (
        (of.as_low_as, "at most as high", MARGIN),
        (of.control, "lower", 0.0),
        (of.beside, None, MARGIN),
    )
    for level in of.levels:
        mine = errors_by_seed(lines, of.rule, level)
        for other, says, margin in others:
            what = f"{of.word} {level:g}: {of.rule} - {other}"
            theirs = errors_by_seed(lines, other, level)
            found = effect(what, mine, theirs, margin, compared=2)
            yield Finding(found, says, level in of.slow, "percent")


def at_an_end(lines: Lines, of: Compared) -> list[str]:
    """Rules whose best step size at a slow level was an end of what was tried."""
    chosen = {
        (line["rule"], line["level"]): line["learning_rate"]
        for line in lines
        if line["level"] in of.slow and line["rule"] != of.beside
    }
    return [
        f"the best step size of {rule} at {level:g} is an end of those tried ({rate:g})"
        for (rule, level), rate in chosen.items()
        if rate in (of.tried[0], of.tried[-1])
    ]


def last_errors(errors: np.ndarray, share: float) -> np.ndarray:
    """The mean of the last errors of each run in percent, at most that of a constant.

    Args:
        errors: `(runs, steps)`, over the variance of the target.
        share: of the steps, the last ones.
    """
    last = errors[:, -int(share * errors.shape[1]) :].mean(axis=1)
    return np.where(np.isfinite(last), np.minimum(100 * last, LOST), LOST)


def collapse(lines: Lines, rule: str) -> float | None:
    """The rate of change where the error is half that of the answer 0.

    Interpolated on a logarithmic scale between the rates that were run; None if the
    error crosses it nowhere.
    """
    levels = sorted({line["level"] for line in lines_where(lines, rule=rule)})
    means = [np.mean(list(errors_by_seed(lines, rule, x).values())) for x in levels]
    for i in range(1, len(levels)):
        if means[i - 1] < LOST / 2 <= means[i]:
            places = np.log(levels[i - 1 : i + 1])
            return float(np.exp(np.interp(LOST / 2, means[i - 1 : i + 1], places)))
    return None
