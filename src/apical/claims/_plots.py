"""Figures of claims: means over seeds with intervals, and logarithmic scales."""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from apical.claims._claim import Lines
from apical.lab.report._summary import interval
from apical.lab.report.figures._style import (
    BASELINE_COLOUR,
    GRID,
    HUES,
    MUTED,
    LineStyle,
    legend_handle,
    line_styles,
    new_figure,
    write_in_panel,
)

# ---- Means over seeds with 95 % intervals, as lines or as points in rows

BySeed = Mapping[int, float]


def panel_figure(
    number: int,
    names: Iterable[str],
    ran: Container[str],
    height: float = 3.6,
    **options: Any,
) -> tuple[Figure, list[Axes], dict[str, LineStyle]]:
    """A figure with panels side by side, a line style for each name, and a legend.

    Args:
        number: of panels.
        names: all names that may be drawn, so that styles do not depend on what ran.
        ran: the names in the legend.
        height: of the figure, in inches.
        options: of the panels.
    """
    figure = new_figure(height, layout="constrained")
    axes = figure.subplots(1, number, squeeze=False, **options)[0]
    found = line_styles(names)
    handles = [legend_handle(look, name) for name, look in found.items() if name in ran]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure, list(axes), found


def rules_in(lines: Lines) -> set[str]:
    """The rules that ran."""
    return {each["rule"] for each in lines}


def draw_line(
    axes: Axes, points: Mapping[float, Iterable[Any]], look: LineStyle
) -> None:
    """Draw a line through the means of the values at each x, with intervals."""
    found = {x: interval(values) for x, values in sorted(points.items())}
    found = {x: each for x, each in found.items() if not math.isnan(each.mean)}
    if not found:
        return
    x, middle = list(found), [each.mean for each in found.values()]
    halves = [0.0 if math.isnan(each.half) else each.half for each in found.values()]
    style = {"color": look.colour, "linestyle": look.dashes, "marker": look.marker}
    axes.errorbar(x, middle, yerr=halves, markersize=4.5, elinewidth=1, **style)


def draw_over_epochs(
    axes: Axes,
    lines: Lines,
    drawn: Mapping[str, LineStyle],
    field: str,
    scale: float = 100,
) -> None:
    """Draw a measure over the epochs, one line for each rule that has a style."""
    for name, look in drawn.items():
        points: dict[float, list[float]] = {}
        for each in lines:
            if each["rule"] == name and each.get(field) is not None:
                points.setdefault(each["epoch"], []).append(scale * each[field])
        draw_line(axes, points, look)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    if not lines:
        write_in_panel(axes, "nothing measured")


def draw_rows(axes: Axes, values: Mapping[str, BySeed]) -> None:
    """Draw a row for each name with values, from the top: mean and interval."""
    colour = BASELINE_COLOUR.light
    values = {name: by_seed for name, by_seed in values.items() if by_seed}
    for place, by_seed in enumerate(values.values()):
        mean, half = interval(by_seed.values())
        if not math.isnan(mean):
            error = None if math.isnan(half) else half
            axes.errorbar(mean, place, xerr=error, color=colour, marker="o")
    axes.set_yticks(range(len(values)), list(values), fontsize=7)
    axes.set_ylim(max(1, len(values)) - 0.5, -0.5)
    if not values:
        write_in_panel(axes, "nothing measured")


def log_x_axis(axes: Axes, values: Iterable[float]) -> None:
    """A logarithmic x axis with ticks at some of these values, as plain numbers."""
    places = sorted(set(values))
    if not places:
        return
    axes.set_xscale("log")
    ticks = places[:: -(-len(places) // 6)]
    axes.set_xticks(ticks, [f"{value:,.0f}" for value in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())


# ---- Geometric means of the seeds on a logarithmic scale, as dots by group

_FEW = 1e3


def dot_figure(
    panels: Mapping[str, tuple[Lines, str]],
    group: str,
    dot: str,
    marked: Mapping[str, tuple[float, float]],
) -> Figure:
    """A figure with a panel of dots for each measure, side by side.

    Args:
        panels: lines and the measure in them, by the title of the panel.
        group: the field that makes groups along the axis.
        dot: the field that makes the dots of a group.
        marked: a range to shade, by title.
    """
    figure = new_figure(3.6, layout="constrained")
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, (lines, field)) in zip(all_axes, panels.items(), strict=True):
        groups = list(dict.fromkeys(line[group] for line in lines))
        kinds = list(dict.fromkeys(line[dot] for line in lines))
        axes.set(title=title, yscale="log", xticks=range(len(groups)))
        axes.set_xticklabels(groups, rotation=20, ha="right")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        if title in marked:
            axes.axhspan(*marked[title], color=GRID.light)
        for i, kind in enumerate(kinds):
            here = [ln for ln in lines if ln[dot] == kind]
            heights = [_mean([x for x in here if x[group] == g], field) for g in groups]
            places = np.arange(len(groups)) + (i - (len(kinds) - 1) / 2) * 0.2
            colour = HUES[i % len(HUES)].light
            axes.plot(places, heights, "o", color=colour, label=kind, markersize=6)
        low, high = axes.get_ylim()
        if high < _FEW * low:  # the powers of ten alone would be one or two
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
    handles, labels = all_axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=6)
    return figure


def _mean(lines: Lines, field: str) -> float:
    known = [line[field] for line in lines if line[field] is not None]
    return geometric_mean([above_zero(value) for value in known])


# ---- Geometric means and ranges of the seeds, as curves

_FLOOR = 1e-17  # where 0 is drawn


def above_zero(value: float) -> float:
    """A value that a logarithmic scale can show."""
    return max(value, _FLOOR)


def geometric_mean(values: Sequence[float]) -> float:
    """The mean on a logarithmic scale; not a number without values."""
    return float(np.exp(np.mean(np.log(values)))) if values else np.nan


class Curve(NamedTuple):
    """A measure against x: the geometric mean of the seeds, the lowest and highest."""

    name: str
    x: list[float]
    middle: list[float]
    low: list[float]
    high: list[float]

    @classmethod
    def of(cls, name: str, lines: Lines, x: str, y: str) -> "Curve":
        """The curve of the lines that have the measure."""
        found: dict[float, list[float]] = {}
        for line in lines:
            if line[y] is not None:
                found.setdefault(line[x], []).append(above_zero(line[y]))
        places = sorted(found)
        values = [found[place] for place in places]
        middle = [geometric_mean(each) for each in values]
        return cls(
            name, places, middle, [min(v) for v in values], [max(v) for v in values]
        )


class Panel(NamedTuple):
    """Curves that share their axes.

    Attributes:
        title: of the panel.
        curves: to draw.
        y: the label of the axis.
        level: a level to mark, and its label.
    """

    title: str
    curves: Sequence[Curve]
    y: str
    level: tuple[float, str] | None = None


def curve_figure(
    panels: Sequence[Panel], x: str, columns: int, xscale: str = "symlog"
) -> Figure:
    """A figure with panels of curves in rows, over the same x axis.

    Args:
        panels: row by row; those of a row have the same measure.
        x: the label of the axis.
        columns: the number of panels in a row.
        xscale: of that axis, as matplotlib names it.
    """
    rows = -(-len(panels) // columns)
    figure = new_figure(3.0 * rows + 1.0, layout="constrained")
    every = line_styles(curve.name for panel in panels for curve in panel.curves)
    grid = figure.subplots(rows, columns, sharey="row", sharex=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=True):
        axes.set(title=panel.title, xlabel=x, xscale=xscale, yscale="log")
        plain = FuncFormatter(lambda value, _: f"{value:g}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(plain)
            axis.set_minor_formatter(NullFormatter())
        for curve in panel.curves:
            _draw(axes, curve, every[curve.name])
        if panel.level is not None:
            _mark(axes, *panel.level)
        if not any(curve.x for curve in panel.curves):
            write_in_panel(axes, "nothing measured")
    for axes, panel in zip(grid[:, 0], panels[::columns], strict=True):
        axes.set_ylabel(panel.y)
    named = [legend_handle(look, name) for name, look in every.items()]
    figure.legend(handles=named, loc="outside lower center", ncols=6)
    return figure


def _draw(axes: Axes, curve: Curve, look: LineStyle) -> None:
    style = {"color": look.colour, "linestyle": look.dashes}
    axes.plot(curve.x, curve.middle, marker=look.marker, markersize=4, **style)
    axes.fill_between(
        curve.x, curve.low, curve.high, color=look.colour, alpha=0.15, lw=0
    )


def _mark(axes: Axes, height: float, meaning: str) -> None:
    axes.axhline(height, color=MUTED.light, lw=0.8)
    place, where = (0.02, height), ("axes fraction", "data")
    axes.annotate(meaning, place, xycoords=where, va="bottom", fontsize=8)
