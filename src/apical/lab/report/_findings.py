"""Findings of a comparison, model by model, from paired differences.

Intervals are not corrected for the number of rules.
"""

import math
from typing import NamedTuple

from apical.lab._registry import CONTROL
from apical.lab.report._summary import BASELINES, Interval, Row, shown_above, standing


class Finding(NamedTuple):
    """A rule and its mean difference to a reference."""

    rule: str
    difference: Interval


class Findings(NamedTuple):
    """The findings on one model.

    Attributes:
        model: its name.
        baselines: the rows of backpropagation that have a score, by the loss that
            they descend.
        equal: rules equal to the baseline of the loss that they descend, within `BAND`.
        below: rules below it.
        above: rules above it.
        open: rules for which none of these is shown.
        single: rules with one seed, hence without an interval.
        alone: rules without a baseline that descends the same loss.
        control: the row of the control, if it has a score.
        better: rules above the control, backpropagation among them.
        no_better: rules not shown to be above it.
        lost: rules that diverged, were refused or have not ended.
        unsettled: rules whose values did not reach equilibrium (slow or diverging).
    """

    model: str
    baselines: dict[str, Row]
    equal: list[Finding]
    below: list[Finding]
    above: list[Finding]
    open: list[Finding]
    single: list[Finding]
    alone: list[Row]
    control: Row | None
    better: list[Finding]
    no_better: list[Finding]
    lost: list[Row]
    unsettled: list[Row]


def findings(rows: list[Row]) -> list[Findings]:
    """The findings on each model."""
    models = dict.fromkeys(row.model for row in rows)
    return [_of_model(model, [r for r in rows if r.model == model]) for model in models]


def _of_model(model: str, rows: list[Row]) -> Findings:
    ended = [row for row in rows if row.status == "ok"]
    judged = [row for row in ended if row.rule not in (*BASELINES, CONTROL)]
    compared = [row for row in judged if not math.isnan(row.difference.mean)]
    sides: dict[str, list[Finding]] = {}
    for row in compared:
        finding = Finding(row.rule, row.difference)
        sides.setdefault(standing(row.difference), []).append(finding)
    control = next((row for row in ended if row.rule == CONTROL), None)
    beside = [
        Finding(row.rule, row.above_control)
        for row in ended
        if control and row.rule != CONTROL
    ]
    return Findings(
        model=model,
        baselines={row.descends: row for row in ended if row.baseline == row.rule},
        **{name: sides.get(name, []) for name in ("equal", "below", "above")},
        **{name: sides.get(name, []) for name in ("open", "single")},
        alone=[row for row in judged if row not in compared],
        control=control,
        better=[finding for finding in beside if _above(finding)],
        no_better=[finding for finding in beside if not _above(finding)],
        lost=[row for row in rows if row.status != "ok"],
        unsettled=[row for row in rows if row.regime not in ("", "stable")],
    )


def _above(finding: Finding) -> bool:
    if math.isnan(finding.difference.half):
        return finding.difference.mean > 0
    return shown_above(finding.difference)
