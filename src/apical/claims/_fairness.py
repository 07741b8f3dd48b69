"""Reasons to refuse a verdict: comparisons that were not fair.

A verdict is refused if, in the runs that decide,

* the winning trial has the lowest or the highest value that was drawn: the best may lie
  beyond;
* the numbers of trials differ: backpropagation and the control must be tuned like the
  rules;
* backpropagation is undertrained: its accuracy rises by more than the margin over the
  last fifth of training (interpolated linearly between epochs).

What cannot be computed from the records is listed in the verdict as not known.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from apical.claims._claim import Claim, Lines
from apical.claims._effect_size import Where, lines_where
from apical.claims._verdict import Finding, Verdict
from apical.lab._registry import BASELINE
from apical.lab.storage._jsonl import Line

# ---- The range of step sizes in older sweeps, whose trials were not kept
#
# A sweep drew step sizes on a logarithmic scale, the same for every rule, from the
# points of one sequence in (0, 1) and within a span for each optimiser. The chosen one
# is in the records; the smallest and the largest follow from these numbers.

_POINTS = {  # the lowest and the highest point, by the number of trials
    6: (0.08222483568602834, 0.9572248356860283),
    8: (0.08222483568602834, 0.9572248356860283),
    16: (0.01972483568602834, 0.9572248356860283),
}
_SPANS = {  # of step sizes, by the name of the optimiser
    "adam": (1e-4, 9e-2),
    "momentum": (0.05 / 30, 0.05 * 30),
    "batch_manhattan": (1e-3 / 30, 1e-3 * 30),
}


def drawn_range(optimizer: str, trials: int) -> tuple[float, float]:
    """The lowest and the highest step size among this number of trials.

    Example:
        >>> [round(rate, 5) for rate in drawn_range("adam", 16)]
        [0.00011, 0.06728]
    """
    low, high = _SPANS[optimizer.partition("(")[0]]
    first, last = _POINTS[trials]
    return low * (high / low) ** first, low * (high / low) ** last


# ---- The checks

LAST_PART = 0.2  # of training


class Run(NamedTuple):
    """The lines and the trials of one rule, trained with every seed."""

    where: Where
    lines: Lines
    trials: Lines

    @classmethod
    def of(cls, where: Where, lines: Lines, trials: Lines) -> "Run":
        """The lines and trials with these fields."""
        return cls(where, lines_where(lines, **where), lines_where(trials, **where))

    @property
    def name(self) -> str:
        """The rule, and the other fields that identify the run."""
        others = [f"{v} {k}" if k == "layers" else str(v) for k, v in self._others]
        return str(self.where["rule"]) + (f" ({', '.join(others)})" if others else "")

    @property
    def _others(self) -> list[tuple[str, object]]:
        return [(k, v) for k, v in self.where.items() if k != "rule"]


def refuse_if_unfair(
    claim: Claim, verdict: Verdict, lines: Lines, trials: Lines
) -> Verdict:
    """The verdict, refused where the runs that decide were not fair."""
    refused: list[str] = []
    unknown: list[str] = []
    tuned = claim.trials_in(lines, trials)
    earlier = 0 if trials else tuned or 0  # trials that were not kept
    for finding in verdict.findings:
        runs = [Run.of(each, lines, trials) for each in finding.effect.runs]
        if finding.says is None or not all(run.lines for run in runs):
            continue
        refused += _unequal(tuned, runs)
        for run in runs:
            beside = Run.of({**run.where, "rule": BASELINE}, lines, ())
            refused += [*_at_an_end(run, earlier), *_undertrained(finding, beside)]
            unknown += _not_known(beside, earlier)
    return verdict.with_refusals(
        tuple(dict.fromkeys(refused)), tuple(dict.fromkeys(unknown))
    )


# ---- Tuned alike


def _unequal(trials: int | None, runs: Sequence[Run]) -> Iterator[str]:
    if trials == 0:
        yield (
            "nothing was tuned: all rules ran at one step size, so that neither "
            "backpropagation nor the control was given the one that is best for it"
        )
    numbers = {run.name: len(run.trials) for run in runs}
    if len(set(numbers.values())) > 1:
        had = ", ".join(f"{name} {number}" for name, number in numbers.items())
        yield f"unequal numbers of trials: {had}"


# ---- Ends of the range


def _at_an_end(run: Run, earlier: int) -> Iterator[str]:
    if run.trials:
        drawn = [_numbers(trial) for trial in run.trials]
        (won,) = (_numbers(trial) for trial in run.trials if trial["chosen"])
        bounds = {k: _bounds([each[k] for each in drawn]) for k in won}
        number = len(drawn)
    elif earlier:
        line, number = run.lines[0], earlier
        won = {"step size": line["learning_rate"]}
        bounds = {"step size": drawn_range(line["optimizer"], earlier)}
    else:
        return
    for name, value in won.items():
        for bound, end in zip(bounds[name], ("smallest", "largest"), strict=True):
            if math.isclose(value, bound, rel_tol=1e-6):
                yield (
                    f"of the {number} trials of {run.name} the one with the {end} "
                    f"{name} won ({value:.2g})"
                )


def _numbers(trial: Line) -> dict[str, float]:
    return {"step size": trial["learning_rate"], **json.loads(trial["numbers"])}


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


# ---- Undertrained


def _undertrained(finding: Finding, backpropagation: Run) -> Iterator[str]:
    margin, risen = finding.effect.margin, accuracy_rise(backpropagation.lines)
    if risen is not None and risen > margin:
        yield (
            f"{backpropagation.name} is undertrained: it rises by {risen:.2f} "
            f"{finding.unit} over the last fifth of training, more than {margin:g}"
        )


def accuracy_rise(lines: Lines) -> float | None:
    """The rise of the accuracy (points, mean of seeds) over the last fifth of training.

    It is interpolated between epochs; before the first it is not known.
    """
    means = _means(lines)
    last = max(means, default=0)
    if last < 1 / (1 - LAST_PART):
        return None
    before = np.interp((1 - LAST_PART) * last, list(means), list(means.values()))
    return float(means[last] - before)


def _means(lines: Lines) -> Mapping[int, float]:
    """The points or scores after each epoch, the mean of the seeds that have one."""
    found: dict[int, list[float]] = {}
    for line in sorted(lines, key=lambda line: line["epoch"]):
        if line["epoch"] and (points := _points(line)) is not None:
            found.setdefault(line["epoch"], []).append(points)
    return {epoch: float(np.mean(values)) for epoch, values in found.items()}


def _points(line: Line) -> float | None:
    """What was measured, in the units of its effects: a score, or an accuracy."""
    if "score" in line:
        return line["score"]
    accuracy = line["test_accuracy"]
    return None if accuracy is None else 100 * accuracy


# ---- What the records do not contain


def _not_known(backpropagation: Run, earlier: int) -> Iterator[str]:
    if earlier:
        yield (
            "the trials were not kept when this was run. Whether the winning step size "
            "lies at an end of what was drawn is computed from the sequence that they "
            "were drawn from; of other numbers of a rule, where trials drew any, it is "
            "not known"
        )
    if accuracy_rise(backpropagation.lines) is None:
        why = (
            "there is one epoch, and nothing was measured within it"
            if backpropagation.lines
            else "it was not run in that place"
        )
        yield f"whether {backpropagation.name} is undertrained is not known: {why}"
