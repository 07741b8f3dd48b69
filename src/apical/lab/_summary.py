"""What a comparison came to: one row per model and rule, from the records alone."""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

Records = list[dict[str, Any]]


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
    accuracy: Interval
    alignment_start: Interval
    alignment_end: Interval
    seconds_per_step: float
    time_ratio: float  # to backprop, timed in turn with it
    seeds: int
    diverged: int


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


def summarise(records: Records) -> list[Row]:
    """One row per model and rule, in the order in which they were run."""
    pairs = dict.fromkeys((r["model"], r["rule"]) for r in records)
    return [_row(of_run(records, model, rule)) for model, rule in pairs]


def of_run(records: Records, model: str, rule: str) -> Records:
    """The records of one model under one rule."""
    return [r for r in records if (r["model"], r["rule"]) == (model, rule)]


def curve(records: Records, field: str) -> tuple[np.ndarray, np.ndarray]:
    """The epochs of a run, and this field as `(epochs, seeds)`; gaps are nan."""
    epochs = sorted({r["epoch"] for r in records})
    rows = [[r[field] for r in records if r["epoch"] == epoch] for epoch in epochs]
    return np.array(epochs), np.array(rows, dtype=float)


def _row(records: Records) -> Row:
    first = [r for r in records if r["epoch"] == 0]
    reached = max(r["epoch"] for r in records)
    last = [r for r in records if r["epoch"] == reached]
    diverged = sum(r["status"] == "diverged" for r in last)
    return Row(
        model=last[0]["model"],
        rule=last[0]["rule"],
        status=_status(last, reached, diverged),
        message=last[0]["message"],
        accuracy=interval([r["test_accuracy"] for r in last]),
        alignment_start=interval([r["alignment"] for r in first]),
        alignment_end=interval([r["alignment"] for r in last]),
        seconds_per_step=_seconds(records, "seconds_per_step"),
        time_ratio=_seconds(records, "seconds_per_step")
        / _seconds(records, "seconds_per_step_of_baseline"),
        seeds=len(last),
        diverged=diverged,
    )


def _status(last: Records, reached: int, diverged: int) -> str:
    if last[0]["status"] == "refused":
        return "refused"
    if diverged:
        return "diverged"
    return "ok" if reached == last[0]["epochs"] else "unfinished"


def _seconds(records: Records, field: str) -> float:
    times = [r[field] for r in records if r["seed"] == records[0]["seed"]]
    known = [t for t in times if t is not None]
    return float(np.median(known)) if known else math.nan
