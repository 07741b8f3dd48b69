"""Curves over a logarithmic scale: the geometric mean of the seeds, and their range."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from apical.lab._report import _palette as palette
from apical.lab._report._canvas import blank, say
from apical.lab._report._looks import Look, handle, looks
from apical.lab.claims._claim import Lines

_FLOOR = 1e-17  # where 0 is drawn


def above_zero(value: float) -> float:
    """A value that a logarithmic scale can show."""
    return max(value, _FLOOR)


def geometric_mean(values: Sequence[float]) -> float:
    """The mean on a logarithmic scale; not a number of no values."""
    return float(np.exp(np.mean(np.log(values)))) if values else np.nan


class Curve(NamedTuple):
    """A measure by seed against something: all seeds were looked at in one place."""

    name: str
    x: list[float]
    middle: list[float]
    low: list[float]
    high: list[float]

    @classmethod
    def of(cls, name: str, lines: Lines, x: str, y: str) -> "Curve":
        """From lines; those without the measure are left out."""
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
        title: above it.
        curves: what is drawn.
        y: what is up.
        level: a height to mark, and what it means.
    """

    title: str
    curves: Sequence[Curve]
    y: str
    level: tuple[float, str] | None = None


def curves(
    panels: Sequence[Panel], x: str, columns: int, xscale: str = "symlog"
) -> Figure:
    """Panels in rows of so many columns, over the same axis.

    Args:
        panels: row by row; those of a row have the same measure.
        x: what is along.
        columns: how many panels stand in a row.
        xscale: of that axis, as matplotlib names it.
    """
    rows = -(-len(panels) // columns)
    figure = blank(3.0 * rows + 1.0, layout="constrained")
    every = looks(curve.name for panel in panels for curve in panel.curves)
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
            say(axes, "nothing measured")
    for axes, panel in zip(grid[:, 0], panels[::columns], strict=True):
        axes.set_ylabel(panel.y)
    named = [handle(look, name) for name, look in every.items()]
    figure.legend(handles=named, loc="outside lower center", ncols=6)
    return figure


def _draw(axes: Axes, curve: Curve, look: Look) -> None:
    style = {"color": look.colour, "linestyle": look.dashes}
    axes.plot(curve.x, curve.middle, marker=look.marker, markersize=4, **style)
    axes.fill_between(
        curve.x, curve.low, curve.high, color=look.colour, alpha=0.15, lw=0
    )


def _mark(axes: Axes, height: float, meaning: str) -> None:
    axes.axhline(height, color=palette.MUTED.light, lw=0.8)
    place, where = (0.02, height), ("axes fraction", "data")
    axes.annotate(meaning, place, xycoords=where, va="bottom", fontsize=8)
