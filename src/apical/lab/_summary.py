"""What a comparison came to: one row per model and rule, from its lines alone."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from apical.lab._errors import LabError
from apical.lab._labels import Score, score_in, scored
from apical.lab._registry import BASELINE

Records = Sequence[dict[str, Any]]


class Interval(NamedTuple):
    """A mean over seeds, and half of its 95 % interval (not a number for one seed)."""

    mean: float
    half: float


class Row(NamedTuple):
    """One line of the table."""

    model: str
    rule: str
    status: str  # "ok", "diverged", "unfinished" or "refused"
    message: str
    needs: tuple[str, ...]
    learning_rate: float
    hyper_parameters: str
    score: Score  # what the next two are of: accuracy, or R² where labels are numbers
    accuracy: Interval
    difference: Interval  # to backprop's, seed by seed
    alignment_start: Interval
    alignment_end: Interval
    seconds_per_step: float
    time_ratio: float  # to backprop, timed in turn with it
    flops_ratio: float
    memory_ratio: float
    depth: float  # heavy operations that must wait for one another
    depth_of_backpropagation: float
    seeds: int
    diverged: int
    regime: str = ""  # how values of predictive coding ended: "stable", "slow", ...


def interval(values: Any) -> Interval:
    """Mean and half-width of the 95 % interval of Student's t over seeds.

    Example:
        >>> interval([1.0, 2.0, 3.0]).half.round(3)
        np.float64(2.484)
    """
    values = np.asarray([v for v in values if v is not None], dtype=float)
    if not values.size:
        return Interval(math.nan, math.nan)
    if values.size == 1:
        return Interval(float(values[0]), math.nan)
    half = stats.t.ppf(0.975, values.size - 1) * stats.sem(values)
    return Interval(values.mean(), half)


def summarise(
    records: Records, costs: Records = (), *, regimes: Records = ()
) -> list[Row]:
    """One row per model and rule, in the order in which they were run."""
    if not records:
        raise LabError("this comparison has no records yet: let its first run begin")
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        runs.setdefault((record["model"], record["rule"]), []).append(record)
    dear = {(line["model"], line["rule"]): line for line in costs}
    # The last line of each is that of the last epoch.
    ended = {(line["model"], line["rule"]): line["steps"] for line in regimes}
    return [
        _row(
            run, at_the_end(runs.get((key[0], BASELINE), [])), dear.get(key, {})
        )._replace(regime=ended.get(key, ""))
        for key, run in runs.items()
    ]


def flat(row: Row) -> dict[str, Any]:
    """A row without parts: of an interval, its half is a field of its own."""
    fields = row._asdict()
    fields |= {"needs": ", ".join(row.needs), "score": row.score.name}
    for name, value in row._asdict().items():
        if isinstance(value, Interval):
            fields |= {name: value.mean, f"{name}_half": value.half}
    return fields


def of_run(records: Records, model: str, rule: str) -> Records:
    """The records of one model under one rule."""
    return [r for r in records if (r["model"], r["rule"]) == (model, rule)]


def curve(records: Records, field: str) -> tuple[np.ndarray, np.ndarray]:
    """The epochs of a run, and this field as `(epochs, seeds)`; gaps are nan."""
    epochs = sorted({r["epoch"] for r in records})
    rows = [[r[field] for r in records if r["epoch"] == epoch] for epoch in epochs]
    return np.array(epochs), np.array(rows, dtype=float)


def _row(records: Records, baseline: dict[int, Any], cost: dict[str, Any]) -> Row:
    first = [r for r in records if r["epoch"] == 0]
    last = _last(records)
    diverged = sum(r["status"] == "diverged" for r in last)
    mine = at_the_end(records)
    return Row(
        model=last[0]["model"],
        rule=last[0]["rule"],
        status=_status(last, diverged),
        message=last[0]["message"],
        needs=tuple(need for need in last[0]["needs"].split(", ") if need),
        learning_rate=last[0]["learning_rate"],
        hyper_parameters=last[0]["hyper_parameters"],
        score=score_in(last[0]),
        accuracy=interval([scored(r) for r in last]),
        difference=interval(
            [mine[seed] - baseline[seed] for seed in mine if seed in baseline]
        ),
        alignment_start=interval([r["alignment"] for r in first]),
        alignment_end=interval([r["alignment"] for r in last]),
        seconds_per_step=_seconds(records, "seconds_per_step"),
        time_ratio=_time_ratio(records),
        flops_ratio=_number(cost.get("flops_ratio")),
        memory_ratio=_number(cost.get("memory_bytes_ratio")),
        depth=_number(cost.get("depth")),
        depth_of_backpropagation=_number(cost.get("depth_of_backpropagation")),
        seeds=len(last),
        diverged=diverged,
    )


def _last(records: Records) -> Records:
    reached = max(r["epoch"] for r in records)
    return [r for r in records if r["epoch"] == reached]


def at_the_end(records: Records, field: str | None = None) -> dict[int, Any]:
    """A measure after the last epoch by seed; one that was lost on the way has none.

    Args:
        records: of one run.
        field: the measure. None: the score.
    """
    ended = [r for r in records if r["epoch"] == r["epochs"] and r["status"] == "ok"]
    return {r["seed"]: r[field] if field else scored(r) for r in ended}


def _status(last: Records, diverged: int) -> str:
    if last[0]["status"] == "refused":
        return "refused"
    if diverged:
        return "diverged"
    return "ok" if last[0]["epoch"] == last[0]["epochs"] else "unfinished"


def _seconds(records: Records, field: str) -> float:
    times = [r[field] for r in records if r["seed"] == records[0]["seed"]]
    known = [t for t in times if t is not None]
    return float(np.median(known)) if known else math.nan


def _time_ratio(records: Records) -> float:
    """The median over epochs of the ratio to backprop's time, measured in turn."""
    pairs = [
        (r["seconds_per_step"], r["seconds_per_step_of_backpropagation"])
        for r in records
        if r["seed"] == records[0]["seed"]
    ]
    ratios = [mine / other for mine, other in pairs if mine and other]
    return float(np.median(ratios)) if ratios else math.nan


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
