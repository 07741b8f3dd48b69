"""Results of rules on one task: those that the repository keeps, or a comparison's.

`kept_results.json` is written by `tools/report_page.py` from `results/every-rule.json`
and `results/rule-costs.json`. An installed package has it too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from apical.lab import LabError
from apical.lab._errors import resolve_names
from apical.lab.report._html import rerun_command
from apical.lab.report._summary import BASELINES, Interval, Row
from apical.lab.report._terminal_table import tuning

FILE = Path(__file__).with_name("kept_results.json")
_UNKNOWN = Interval(math.nan, math.nan)


class RuleResult(NamedTuple):
    """What one rule gave on the task. A number that is not known is nan.

    Attributes:
        status: "ok", or why there is no result.
        descends: the loss that the rule descends.
        accuracy: on the test part, a fraction; R² for a regression.
        difference: to backpropagation of the same loss.
        above_control: to a network of which only the readout learns.
        alignment: the cosine with the gradient, of the hidden layers, before training
            and at its end.
        time, memory: of a training step, divided by backpropagation's.
        depth: products one after the other, divided by backpropagation's.
        declared: the needs that the rule declares.
        earlier: whether its hyper-parameters are those of an earlier comparison.
    """

    status: str = "ok"
    descends: str = ""
    accuracy: Interval = _UNKNOWN
    difference: Interval = _UNKNOWN
    above_control: Interval = _UNKNOWN
    alignment: tuple[float, float] = (math.nan, math.nan)
    time: float = math.nan
    memory: float = math.nan
    depth: float = math.nan
    declared: tuple[str, ...] | None = None
    earlier: bool = False


class TaskResults(NamedTuple):
    """The results of all rules on one task.

    Attributes:
        task: data, model, seeds and epochs, in words.
        command: what repeats the comparison.
        score: what is measured on the test part, `"accuracy"` or `"R²"`.
        rules: the results by the name of the rule.
        note: what the reader must know of the numbers.
    """

    task: str
    command: str
    score: str
    rules: Mapping[str, RuleResult]
    note: str = ""


# ---- The results that the repository keeps


@cache
def kept_results() -> TaskResults:
    """The results of the comparison of all rules that the repository keeps.

    Example:
        >>> found = kept_results().rules["feedback-alignment"]
        >>> round(found.alignment[1], 2)
        0.56
    """
    found = json.loads(FILE.read_text("utf-8"))
    rules = {name: _kept(line) for name, line in found["rules"].items()}
    return TaskResults(**found | {"rules": rules})


def _kept(line: Mapping[str, Any]) -> RuleResult:
    start, end = map(_number, line["alignment"])
    return RuleResult(
        descends=line["descends"],
        accuracy=_interval(line["accuracy"]),
        difference=_interval(line["difference"]),
        above_control=_interval(line["above_control"]),
        alignment=(start, end),
        time=_number(line["time"]),
        memory=_number(line["memory"]),
        depth=_number(line["depth"]),
        earlier=line["earlier"],
    )


def _interval(points: list[float | None]) -> Interval:
    """From points, as they are kept."""
    mean, half = (_number(each) / 100 for each in points)
    return Interval(mean, half)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


# ---- The results of a comparison


def results_of(comparison: Any, model: str | None = None) -> TaskResults:
    """The results of a comparison on one of its models.

    Args:
        comparison: an `apical.lab.Comparison`.
        model: the model (default: the first).

    Returns:
        A `TaskResults`.

    Raises:
        LabError: if the comparison has no records yet, or not that model.

    Example:
        `results_of(apical.lab.Comparison.read("apical-compare"))`
    """
    if not comparison.records:
        raise LabError(
            "comparison: it has no records yet; wait until its first run begins"
        )
    models = list(dict.fromkeys(row.model for row in comparison.rows))
    (model,) = resolve_names("model", [model or models[0]], models)
    rows = [row for row in comparison.rows if row.model == model]
    first = comparison.records[0]
    return TaskResults(
        task=(
            f"{first['data']}, {model}, {first['seeds']} seeds, "
            f"{first['epochs']} epochs, {tuning(first)}"
        ),
        command=rerun_command(comparison.settings).command,
        score=rows[0].score.name,
        rules={row.rule: _of_row(row) for row in rows},
    )


def _of_row(row: Row) -> RuleResult:
    if row.status in ("diverged", "refused"):
        return RuleResult(row.status, row.descends, declared=tuple(row.needs))
    return RuleResult(
        status=row.status,
        descends=row.descends,
        accuracy=row.accuracy,
        difference=row.difference if row.rule not in BASELINES else _UNKNOWN,
        above_control=row.above_control,
        alignment=(row.alignment_start.mean, row.alignment_end.mean),
        time=row.time_ratio,
        memory=row.memory_ratio,
        depth=row.depth / row.depth_of_backpropagation,
        declared=tuple(row.needs),
    )
