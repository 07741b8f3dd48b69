"""What a comparison found, model by model, read off paired differences.

A rule is told apart from a reference if the 95 % interval of its mean difference, seed
by seed, does not contain 0. Each interval stands for itself: nothing is corrected for
the number of rules.
"""

import math
from typing import NamedTuple

from apical.lab._registry import BASELINE, CONTROL
from apical.lab._report._runs import by_run
from apical.lab._summary import Interval, Records, Row, at_the_end, interval

_NOTHING = 1e-12  # rounding, far below one example


class Finding(NamedTuple):
    """A rule and its mean difference to a reference."""

    rule: str
    difference: Interval


class Findings(NamedTuple):
    """What was found on one model.

    Attributes:
        model: its name.
        baseline: the row of backpropagation, if it came to a score.
        alike: rules whose interval contains 0.
        below: rules below backpropagation.
        above: rules above it.
        single: rules with one seed, so without an interval.
        control: the row of the control, if it came to a score.
        better: rules above the control, backpropagation among them.
        no_better: rules not above it.
        lost: rules that diverged, were refused or have not ended.
        restless: rules whose values did not come to rest: slow, or diverging.
    """

    model: str
    baseline: Row | None
    alike: list[Finding]
    below: list[Finding]
    above: list[Finding]
    single: list[Finding]
    control: Row | None
    better: list[Finding]
    no_better: list[Finding]
    lost: list[Row]
    restless: list[Row]


def findings(records: Records, rows: list[Row]) -> list[Findings]:
    """What was found on each model."""
    accuracies = {key: at_the_end(lines) for key, lines in by_run(records).items()}
    return [
        _of_model(model, [row for row in rows if row.model == model], accuracies)
        for model in dict.fromkeys(row.model for row in rows)
    ]


def paired(mine: dict[int, float], other: dict[int, float]) -> Interval:
    """The mean difference over the seeds that both have, with its interval.

    Example:
        >>> paired({0: 0.9, 1: 0.8}, {0: 0.8, 1: 0.7}).mean.round(6)
        np.float64(0.1)
    """
    return interval([mine[seed] - other[seed] for seed in mine if seed in other])


def _of_model(
    model: str, rows: list[Row], accuracies: dict[tuple[str, str], dict[int, float]]
) -> Findings:
    ended = {row.rule: row for row in rows if row.status == "ok"}
    judged = [row for row in ended.values() if row.rule not in (BASELINE, CONTROL)]
    baseline, control = ended.get(BASELINE), ended.get(CONTROL)
    found = [Finding(row.rule, row.difference) for row in judged] if baseline else []
    beside = [
        Finding(
            row.rule, paired(accuracies[model, row.rule], accuracies[model, CONTROL])
        )
        for row in ended.values()
        if control and row.rule != CONTROL
    ]
    return Findings(
        model=model,
        baseline=baseline,
        alike=[finding for finding in found if _side(finding) == "alike"],
        below=[finding for finding in found if _side(finding) == "below"],
        above=[finding for finding in found if _side(finding) == "above"],
        single=[finding for finding in found if _side(finding) == "single"],
        control=control,
        better=[finding for finding in beside if _above(finding)],
        no_better=[finding for finding in beside if not _above(finding)],
        lost=[row for row in rows if row.status != "ok"],
        restless=[row for row in rows if row.regime not in ("", "stable")],
    )


def _side(finding: Finding) -> str:
    mean, half = finding.difference
    if math.isnan(half):
        return "single"
    if abs(mean) <= half + _NOTHING:
        return "alike"
    return "above" if mean > 0 else "below"


def _above(finding: Finding) -> bool:
    mean, half = finding.difference
    return mean > (0.0 if math.isnan(half) else half) + _NOTHING
