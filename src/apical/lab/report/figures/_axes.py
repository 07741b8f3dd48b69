"""Parts that figures share: accuracy axes, ratio axes, grids of small panels."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from apical.lab._registry import BASELINE
from apical.lab.report._summary import BAND, Row
from apical.lab.report.figures._style import (
    EDGE,
    GRID,
    PAPER,
    WIDTH,
    LineStyle,
    new_figure,
    shorten,
)

# ---- Accuracy


def point(axes: Axes, x: float, row: Row, style: LineStyle) -> None:
    """Draw the accuracy of a row in percent, with its interval if it has one."""
    mean, half = row.accuracy
    axes.errorbar(
        x,
        100 * mean,
        yerr=None if math.isnan(half) else 100 * half,
        color=style.colour,
        marker=style.marker,
        markersize=7.5,
        markeredgecolor=PAPER.light,
        markeredgewidth=0.8,
        elinewidth=1.2,
        label=row.rule,
    )


def equivalence_band(axes: Axes, rows: Iterable[Row]) -> None:
    """Shade the band that counts as equal to the accuracy of each baseline."""
    for row in rows:
        if row.rule == row.baseline and math.isfinite(row.accuracy.mean):
            low, middle, high = (
                100 * (row.accuracy.mean + side) for side in (-BAND, 0.0, BAND)
            )
            dashes = "-" if row.rule == BASELINE else "--"
            axes.axhspan(low, high, color=GRID.light, linewidth=0, zorder=0)
            axes.axhline(
                middle, color=EDGE.light, linewidth=0.7, linestyle=dashes, zorder=0.5
            )


def lowest_shown(rows: list[Row]) -> float:
    """The lower end of an accuracy axis: 10 points below the lowest final accuracy."""
    final = [100 * row.accuracy.mean for row in rows if row.status != "diverged"]
    known = [value for value in final if math.isfinite(value)]
    return max(0.0, min(known) - 10.0) if known else 0.0


# ---- Logarithmic axes of ratios to backpropagation

_MOST_TICKS = 6


def mark_ratios(axes: Axes, values: Iterable[float]) -> None:
    """Scale the x axis to these ratios and draw a line at 1."""
    known = [value for value in values if drawable(value)]
    low, high = min([0.8, *known]) / 1.2, max([1.25, *known]) * 1.2
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(_ticks(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, position: f"{value:g}")
    axes.axvline(1.0, color=EDGE.light, linewidth=0.8, zorder=0.9)


def drawable(value: float) -> bool:
    """Whether this number can be drawn on a logarithmic axis."""
    return math.isfinite(value) and value > 0


def _ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside: list[float] = []
    for steps in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) <= _MOST_TICKS:
            break
    return inside


# ---- Small multiples: a panel for each rule, under a heading for each model
#
# Sizes in inches. Panels are placed by hand, since matplotlib's layout of a hundred
# panels takes longer than drawing them.
_COLUMNS = 5
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.5, 0.12, 0.42, 0.12
_BETWEEN, _PANEL, _UNDER, _TITLE = 0.22, 1.1, 0.44, 0.24
_LETTERS = 26  # of a name that fits above a panel


class Panels(NamedTuple):
    """The figure, its panels by model and rule, and the heading of each model."""

    figure: Figure
    by_run: dict[tuple[str, str], Axes]
    headings: dict[str, Axes]


def small_multiples(
    blocks: Mapping[str, Sequence[str]], title: str, heading: float, unit: str
) -> Panels:
    """A figure with empty panels.

    Args:
        blocks: the rules of each model.
        title: of the whole figure.
        heading: height of the heading of a model, in inches.
        unit: the label under the lowest panel of a column.
    """
    rows = {model: math.ceil(len(rules) / _COLUMNS) for model, rules in blocks.items()}
    step = _TITLE + _PANEL + _UNDER
    height = _TOP + _BOTTOM + sum(heading + n * step for n in rows.values())
    figure = new_figure(height)
    figure.text(0.01, 1 - 0.14 / height, title, fontsize=11, va="top")
    panels, headings, top = {}, {}, height - _TOP
    for model, rules in blocks.items():
        headings[model] = _heading(figure, model, top, heading)
        for i, rule in enumerate(rules):
            bottom = top - heading - (i // _COLUMNS + 1) * step + _UNDER
            axes = _panel(figure, i % _COLUMNS, bottom)
            axes.set_title(shorten(rule, _LETTERS), fontsize=8.5, weight="normal")
            axes.tick_params(labelsize=8, labelleft=i % _COLUMNS == 0, length=2)
            if i + _COLUMNS >= len(rules):
                axes.set_xlabel(unit, fontsize=8, labelpad=1)
            panels[model, rule] = axes
        top -= heading + rows[model] * step
    return Panels(figure, panels, headings)


def _panel(figure: Figure, column: int, bottom: float) -> Axes:
    width = (WIDTH - _LEFT - _RIGHT + _BETWEEN) / _COLUMNS - _BETWEEN
    left = _LEFT + column * (width + _BETWEEN)
    return _at(figure, left, bottom, width, _PANEL)


def _heading(figure: Figure, model: str, top: float, height: float) -> Axes:
    axes = _at(figure, 0.1, top - height, WIDTH - 0.2, height)
    axes.set(xlim=(0, 1), ylim=(0, height))
    axes.set_axis_off()
    axes.text(0, height - 0.03, model, weight="bold", fontsize=10, va="top")
    return axes


def _at(
    figure: Figure, left: float, bottom: float, width: float, height: float
) -> Axes:
    wide, high = figure.get_size_inches()
    return figure.add_axes((left / wide, bottom / high, width / wide, height / high))
