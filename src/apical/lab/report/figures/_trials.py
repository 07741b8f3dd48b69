"""Figure of the trials: held-out accuracy against step size."""

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from apical.lab._registry import BASELINE
from apical.lab.data._labels import HELD_OUT, score_in, scored
from apical.lab.report._html_table import plain
from apical.lab.report._summary import by_run
from apical.lab.report.figures._axes import small_multiples
from apical.lab.report.figures._style import (
    EDGE,
    GRID,
    INK,
    MUTED,
    PAPER,
    LineStyle,
    line_styles,
)
from apical.lab.storage._jsonl import Lines

# ---- The working range: step sizes around the best that are nearly as good

POINTS = 5.0  # percentage points below the best trial that count as nearly as good


class WorkingRange(NamedTuple):
    """The best trial of a rule and its neighbours in step size.

    Attributes:
        best: score of the best trial on the held-out set.
        low: the lowest step size of the range.
        high: the highest step size of the range.
        inside: number of trials in the range.
    """

    best: float
    low: float
    high: float
    inside: int

    @property
    def factor(self) -> float:
        """The highest step size divided by the lowest."""
        return self.high / self.low


def working_range(trials: Lines) -> WorkingRange | None:
    """The neighbouring trials, by step size, within `POINTS` of the best one.

    Args:
        trials: those of one model and one rule.

    Returns:
        The range, which is at least this wide, or None if every trial diverged.

    Example:
        >>> found = zip((0.1, 0.2, 0.4, 0.8), (0.50, 0.96, 0.97, 0.3))
        >>> trials = [{"learning_rate": a, "held_out_accuracy": b} for a, b in found]
        >>> working_range([trial | {"status": "ok"} for trial in trials])
        WorkingRange(best=0.97, low=0.2, high=0.4, inside=2)
    """
    ordered = sorted(trials, key=lambda trial: trial["learning_rate"])
    scores = [scored(t, HELD_OUT) if ended(t) else None for t in ordered]
    known = [score for score in scores if score is not None]
    if not known:
        return None
    best = max(known)
    good = [score is not None and 100 * (best - score) <= POINTS for score in scores]
    first = last = scores.index(best)
    while first > 0 and good[first - 1]:
        first -= 1
    while last + 1 < len(good) and good[last + 1]:
        last += 1
    rates = [ordered[i]["learning_rate"] for i in (first, last)]
    return WorkingRange(best, *rates, inside=last - first + 1)


def ended(trial: dict[str, object]) -> bool:
    """Whether a trial has a score."""
    return trial["status"] == "ok" and scored(trial, HELD_OUT) is not None


def draw_trials(trials: Lines) -> Figure:
    """One panel for each model and rule, one point for each trial."""
    runs = by_run(trials)
    blocks: dict[str, list[str]] = {}
    for model, rule in runs:
        blocks.setdefault(model, []).append(rule)
    styles = line_styles(rule for _, rule in runs)
    score = score_in(trials[0]).name
    title = f"trials: held-out {score} (%) against step size"
    panels = small_multiples(blocks, title, heading=0.26, unit="step size")
    rates = [trial["learning_rate"] for trial in trials]
    for (model, rule), axes in panels.by_run.items():
        axes.set_xscale("log")
        axes.set_xlim(min(rates) / 1.3, max(rates) * 1.3)
        axes.set_ylim(-6, 104)
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, position: f"{value:g}")
        axes.set_yticks([0, 50, 100])
        if rule != BASELINE:
            _line(axes, runs.get((model, BASELINE), []))
        _draw(axes, runs[model, rule], styles[rule])
    return panels.figure


def _line(axes: Axes, baseline: Lines) -> None:
    """Draw the trials of backpropagation for comparison."""
    done = sorted(
        (t["learning_rate"], scored(t, HELD_OUT)) for t in baseline if ended(t)
    )
    axes.plot(
        [rate for rate, _ in done],
        [100 * score for _, score in done],
        color=EDGE.light,
        linewidth=0.8,
    )


def _draw(axes: Axes, trials: Lines, style: LineStyle) -> None:
    found = working_range(trials)
    if found is not None:
        axes.axvspan(found.low / 1.08, found.high * 1.08, color=GRID.light, linewidth=0)
        middle = (found.low * found.high) ** 0.5
        factor = f"× {plain(found.factor)}"
        axes.text(middle, 4, factor, ha="center", fontsize=8, color=MUTED.light)
    done = [trial for trial in trials if ended(trial)]
    _points(axes, done, style, size=5, edge=PAPER.light)
    _points(axes, [t for t in done if t["chosen"]], style, size=8, edge=INK.light)
    lost = [trial["learning_rate"] for trial in trials if not ended(trial)]
    axes.plot(lost, [0] * len(lost), "x", markersize=5, color=MUTED.light)


def _points(
    axes: Axes, trials: Lines, style: LineStyle, size: float, edge: str
) -> None:
    axes.plot(
        [trial["learning_rate"] for trial in trials],
        [100 * scored(trial, HELD_OUT) for trial in trials],
        linestyle="none",
        marker=style.marker,
        markersize=size,
        color=style.colour,
        markeredgecolor=edge,
        markeredgewidth=size / 7,
    )
