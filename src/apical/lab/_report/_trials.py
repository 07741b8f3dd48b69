"""Accuracy on the held-out part against step size, a panel for each model and rule."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from apical.lab._labels import HELD_OUT, score_in, scored
from apical.lab._registry import BASELINE
from apical.lab._report._looks import Look, looks
from apical.lab._report._numbers import plain
from apical.lab._report._palette import EDGE, GRID, INK, MUTED, PAPER
from apical.lab._report._panels import small_multiples
from apical.lab._report._working_range import ended, working_range
from apical.lab._summary import Records, by_run


def draw_trials(trials: Records) -> Figure:
    """One panel for each model and rule, one point for each trial."""
    runs = by_run(trials)
    blocks: dict[str, list[str]] = {}
    for model, rule in runs:
        blocks.setdefault(model, []).append(rule)
    drawn = looks(rule for _, rule in runs)
    score = score_in(trials[0]).name
    title = f"trials: {score} on the held-out part (%) against step size"
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
        _draw(axes, runs[model, rule], drawn[rule])
    return panels.figure


def _line(axes: Axes, baseline: Records) -> None:
    """The trials of backpropagation, to be compared with."""
    done = sorted(
        (t["learning_rate"], scored(t, HELD_OUT)) for t in baseline if ended(t)
    )
    axes.plot(
        [rate for rate, _ in done],
        [100 * score for _, score in done],
        color=EDGE.light,
        linewidth=0.8,
    )


def _draw(axes: Axes, trials: Records, look: Look) -> None:
    found = working_range(trials)
    if found is not None:
        axes.axvspan(found.low / 1.08, found.high * 1.08, color=GRID.light, linewidth=0)
        middle = (found.low * found.high) ** 0.5
        factor = f"× {plain(found.factor)}"
        axes.text(middle, 4, factor, ha="center", fontsize=8, color=MUTED.light)
    done = [trial for trial in trials if ended(trial)]
    _points(axes, done, look, size=5, edge=PAPER.light)
    _points(axes, [t for t in done if t["chosen"]], look, size=8, edge=INK.light)
    lost = [trial["learning_rate"] for trial in trials if not ended(trial)]
    axes.plot(lost, [0] * len(lost), "x", markersize=5, color=MUTED.light)


def _points(axes: Axes, trials: Records, look: Look, size: float, edge: str) -> None:
    axes.plot(
        [trial["learning_rate"] for trial in trials],
        [100 * scored(trial, HELD_OUT) for trial in trials],
        linestyle="none",
        marker=look.marker,
        markersize=size,
        color=look.colour,
        markeredgecolor=edge,
        markeredgewidth=size / 7,
    )
