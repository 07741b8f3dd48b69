"""Means over seeds with their 95 % intervals: as lines, or as points in rows."""

import math
from collections.abc import Container, Iterable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from apical.lab._report import _palette as palette
from apical.lab._report._canvas import blank, say
from apical.lab._report._looks import Look, handle, looks
from apical.lab._summary import interval
from apical.lab.claims._claim import Lines

BySeed = Mapping[int, float]


def panels(
    number: int,
    names: Iterable[str],
    ran: Container[str],
    height: float = 3.6,
    **options: Any,
) -> tuple[Figure, list[Axes], dict[str, Look]]:
    """A figure of panels side by side, and a look for each name, with a legend.

    Args:
        number: of panels.
        names: of what may be drawn; each has the same look whatever else ran.
        ran: those of them that did: the legend names no others.
        height: of the figure, in inches.
        options: of the panels.
    """
    figure = blank(height, layout="constrained")
    axes = figure.subplots(1, number, squeeze=False, **options)[0]
    found = looks(names)
    handles = [handle(look, name) for name, look in found.items() if name in ran]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure, list(axes), found


def rules_of(lines: Lines) -> set[str]:
    """The rules that ran."""
    return {each["rule"] for each in lines}


def line(axes: Axes, points: Mapping[float, Iterable[Any]], look: Look) -> None:
    """A line through means over seeds: for each place along, its values."""
    found = {x: interval(values) for x, values in sorted(points.items())}
    found = {x: each for x, each in found.items() if not math.isnan(each.mean)}
    if not found:
        return
    x, middle = list(found), [each.mean for each in found.values()]
    halves = [0.0 if math.isnan(each.half) else each.half for each in found.values()]
    style = {"color": look.colour, "linestyle": look.dashes, "marker": look.marker}
    axes.errorbar(x, middle, yerr=halves, markersize=4.5, elinewidth=1, **style)


def over_epochs(
    axes: Axes, lines: Lines, drawn: Mapping[str, Look], field: str, scale: float = 100
) -> None:
    """A measure over the epochs, a line for each rule that has a look."""
    for name, look in drawn.items():
        points: dict[float, list[float]] = {}
        for each in lines:
            if each["rule"] == name and each.get(field) is not None:
                points.setdefault(each["epoch"], []).append(scale * each[field])
        line(axes, points, look)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    if not lines:
        say(axes, "nothing measured")


def rows(axes: Axes, values: Mapping[str, BySeed]) -> None:
    """A row for each name that was run, from the top: mean and interval."""
    colour = palette.BASELINE.light
    values = {name: by_seed for name, by_seed in values.items() if by_seed}
    for place, by_seed in enumerate(values.values()):
        mean, half = interval(by_seed.values())
        if not math.isnan(mean):
            error = None if math.isnan(half) else half
            axes.errorbar(mean, place, xerr=error, color=colour, marker="o")
    axes.set_yticks(range(len(values)), list(values), fontsize=7)
    axes.set_ylim(max(1, len(values)) - 0.5, -0.5)
    if not values:
        say(axes, "nothing measured")
