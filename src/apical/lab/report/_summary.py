"""The summary of a comparison: one row per model and rule, computed from its lines."""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from apical.lab._errors import LabError
from apical.lab._registry import BASELINE, CONTROL, SQUARED
from apical.lab.data._labels import Score, score_in, scored
from apical.lab.storage._jsonl import Line, Lines
from apical.lab.training._tuning import half_width, resampled_scores

RunLines = dict[tuple[str, str], list[Line]]  # by model and rule
BASELINES = (BASELINE, SQUARED)
BAND = 0.01  # of accuracy: a smaller difference counts as equal
_ROUNDING = 1e-12  # far below one example


class Interval(NamedTuple):
    """A mean over seeds, and half the width of its 95 % interval (nan for one seed)."""

    mean: float
    half: float


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        accuracy: on the test set. Its interval, like those of the differences, is over
            seeds and, where there were trials, over the draw of the trials.
        descends: the loss that the rule descends.
        baseline: the name of backpropagation of that loss in this comparison, or "".
        difference: to the accuracy of the baseline, seed by seed.
        above_control: the difference to the control's accuracy, seed by seed.
        alignment_start: the mean cosine of the hidden layers before training.
        alignment_end: the same after the last epoch.
        overall_start: the cosine of all parameters as one vector.
        overall_end: the same after the last epoch.
        time_ratio: to backpropagation, timed in alternation with it.
        depth: products on the longest sequential path.
    """

    model: str
    rule: str
    status: str  # "ok", "diverged", "unfinished" or "refused"
    message: str
    needs: tuple[str, ...]
    learning_rate: float
    hyper_parameters: str
    score: Score  # accuracy, or R² for a regression
    accuracy: Interval
    descends: str
    baseline: str
    difference: Interval
    above_control: Interval
    alignment_start: Interval
    alignment_end: Interval
    overall_start: Interval
    overall_end: Interval
    seconds_per_step: float
    time_ratio: float
    flops_ratio: float
    memory_ratio: float
    depth: float
    depth_of_backpropagation: float
    seeds: int
    diverged: int
    regime: str = ""  # of predictive coding after training: "stable", "slow", ...


class _Run(NamedTuple):
    """One model and rule: its lines, its cost, and resampled test scores of trials."""

    records: Lines
    cost: Line
    resampled: np.ndarray | None

    @property
    def descends(self) -> str:
        """The loss that its rule descends."""
        return self.records[0]["descends"]

    @property
    def rule(self) -> str:
        """Its rule."""
        return self.records[0]["rule"]


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


def standing(difference: Interval) -> str:
    """How an accuracy compares with another, by the interval of their difference.

    | standing   | the interval                        |
    |------------|-------------------------------------|
    | `"equal"`  | lies within `BAND` on either side   |
    | `"above"`  | lies above 0                        |
    | `"below"`  | lies below 0                        |
    | `"open"`   | does none of these                  |
    | `"single"` | is unknown, with one seed           |

    Example:
        >>> [standing(Interval(mean, 0.008)) for mean in (0.001, -0.02, 0.005)]
        ['equal', 'below', 'open']
    """
    mean, half = difference
    if math.isnan(half):
        return "single"
    if abs(mean) + half <= BAND:
        return "equal"
    if abs(mean) <= half + _ROUNDING:
        return "open"
    return "above" if mean > 0 else "below"


def shown_above(difference: Interval) -> bool:
    """Whether the interval of a difference lies above 0."""
    return difference.mean > difference.half + _ROUNDING


def summarise(
    records: Lines,
    costs: Lines = (),
    trials: Lines = (),
    *,
    regimes: Lines = (),
) -> list[Row]:
    """One row per model and rule, in the order in which they were run."""
    if not records:
        raise LabError(
            "this comparison has no records yet: wait until its first run begins"
        )
    cost_by_run = {(line["model"], line["rule"]): line for line in costs}
    tried = by_run(trials)
    runs = {
        key: _Run(lines, cost_by_run.get(key, {}), resampled_scores(tried.get(key, [])))
        for key, lines in by_run(records).items()
    }
    # The last line of each is that of the last epoch.
    ended = {(line["model"], line["rule"]): line["steps"] for line in regimes}
    return [
        _row(run, _beside(runs, key[0]))._replace(regime=ended.get(key, ""))
        for key, run in runs.items()
    ]


def by_run(records: Lines) -> RunLines:
    """The lines of each model and rule, in the order in which they were written."""
    runs: RunLines = {}
    for record in records:
        runs.setdefault((record["model"], record["rule"]), []).append(record)
    return runs


def _beside(runs: dict[tuple[str, str], _Run], model: str) -> dict[str, _Run]:
    return {rule: run for (other, rule), run in runs.items() if other == model}


def flat(row: Row) -> Line:
    """A row as a flat dictionary: the half width of an interval is a separate field."""
    fields = row._asdict()
    fields |= {"needs": ", ".join(row.needs), "score": row.score.name}
    for name, value in row._asdict().items():
        if isinstance(value, Interval):
            fields |= {name: value.mean, f"{name}_half": value.half}
    return fields


def of_run(records: Lines, model: str, rule: str) -> Lines:
    """The records of one model and rule."""
    return [r for r in records if (r["model"], r["rule"]) == (model, rule)]


def curve(records: Lines, field: str) -> tuple[np.ndarray, np.ndarray]:
    """The epochs of a run, and this field as `(epochs, seeds)`; gaps are nan."""
    epochs = sorted({r["epoch"] for r in records})
    rows = [[r[field] for r in records if r["epoch"] == epoch] for epoch in epochs]
    return np.array(epochs), np.array(rows, dtype=float)


def _row(run: _Run, beside: dict[str, _Run]) -> Row:
    records, cost = run.records, run.cost
    first = [r for r in records if r["epoch"] == 0]
    last = _last(records)
    diverged = sum(r["status"] == "diverged" for r in last)
    descends = run.descends
    baselines = [n for n in BASELINES if n in beside and beside[n].descends == descends]
    return Row(
        model=last[0]["model"],
        rule=run.rule,
        status=_status(last, diverged),
        message=last[0]["message"],
        needs=tuple(need for need in last[0]["needs"].split(", ") if need),
        learning_rate=last[0]["learning_rate"],
        hyper_parameters=last[0]["hyper_parameters"],
        score=score_in(last[0]),
        accuracy=_widened(interval([scored(r) for r in last]), run.resampled),
        descends=descends,
        baseline=baselines[0] if baselines else "",
        difference=_apart(run, beside[baselines[0]] if baselines else None),
        above_control=_apart(run, beside.get(CONTROL)),
        alignment_start=interval([r["alignment_hidden"] for r in first]),
        alignment_end=interval([r["alignment_hidden"] for r in last]),
        overall_start=interval([r["alignment"] for r in first]),
        overall_end=interval([r["alignment"] for r in last]),
        seconds_per_step=_seconds(records, "seconds_per_step"),
        time_ratio=_time_ratio(records),
        flops_ratio=_number(cost.get("flops_ratio")),
        memory_ratio=_number(cost.get("memory_bytes_ratio")),
        depth=_number(cost.get("depth")),
        depth_of_backpropagation=_number(cost.get("depth_of_backpropagation")),
        seeds=len(last),
        diverged=diverged,
    )


def _apart(mine: _Run, other: _Run | None) -> Interval:
    """The difference of two accuracies, paired by seed and by resampled trials."""
    if other is None:
        return interval([])
    ends, theirs = final_by_seed(mine.records), final_by_seed(other.records)
    found = interval([ends[seed] - theirs[seed] for seed in ends if seed in theirs])
    here, there = (0.0 if r.resampled is None else r.resampled for r in (mine, other))
    return _widened(found, np.asarray(here - there))


def _widened(found: Interval, resampled: np.ndarray | None) -> Interval:
    """The interval widened by the noise that the draw of trials adds to the seeds."""
    if resampled is None:
        return found
    return found._replace(half=math.hypot(found.half, half_width(resampled)))


def _last(records: Lines) -> Lines:
    reached = max(r["epoch"] for r in records)
    return [r for r in records if r["epoch"] == reached]


def final_by_seed(records: Lines, field: str | None = None) -> dict[int, Any]:
    """A measure after the last epoch by seed, without seeds that diverged.

    Args:
        records: of one run.
        field: the name of the measure. None: the score.
    """
    ended = [r for r in records if r["epoch"] == r["epochs"] and r["status"] == "ok"]
    return {r["seed"]: r[field] if field else scored(r) for r in ended}


def _status(last: Lines, diverged: int) -> str:
    if last[0]["status"] == "refused":
        return "refused"
    if diverged:
        return "diverged"
    return "ok" if last[0]["epoch"] == last[0]["epochs"] else "unfinished"


def _seconds(records: Lines, field: str) -> float:
    times = [r[field] for r in records if r["seed"] == records[0]["seed"]]
    known = [t for t in times if t is not None]
    return float(np.median(known)) if known else math.nan


def _time_ratio(records: Lines) -> float:
    """The median over epochs of the time of a step relative to backpropagation's."""
    pairs = [
        (r["seconds_per_step"], r["seconds_per_step_of_backpropagation"])
        for r in records
        if r["seed"] == records[0]["seed"]
    ]
    ratios = [mine / other for mine, other in pairs if mine and other]
    return float(np.median(ratios)) if ratios else math.nan


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
