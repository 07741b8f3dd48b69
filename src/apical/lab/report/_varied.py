"""Accuracy and alignment against a number of the rules, where rows differ in it alone.

Rows that are called alike but for one argument, as `rule(removed=0.0)` and
`rule(removed=0.5)`, are the points of one curve.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apical.lab._names import Spelled, spelled_or_bare
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.report._style import Look, blank, handle, looks, shortened
from apical.lab.report._summary import Interval, Row

_REFERENCES = (BASELINE, CONTROL)
_ENDED = ("ok", "unfinished")


class Varied(NamedTuple):
    """The rows of one model that differ in one argument of a rule alone.

    Attributes:
        model: its name.
        number: the argument.
        rule: the rule, with its other arguments.
        points: the values and their rows, in order.
    """

    model: str
    number: str
    rule: str
    points: list[tuple[Any, Row]]


class _Measure(NamedTuple):
    title: str
    of: Callable[[Row], Interval]
    scale: float


_MEASURES = (
    _Measure("last test accuracy (%)", lambda row: row.accuracy, 100.0),
    _Measure("last alignment", lambda row: row.alignment_end, 1.0),
)


def varied(rows: list[Row]) -> list[Varied]:
    """Every set of rows that is a curve: two values at least."""
    found: dict[tuple[str, str, str], dict[Any, Row]] = {}
    for row in rows:
        name, arguments = spelled_or_bare(row.rule)
        for number, value in arguments.items():
            others = {k: v for k, v in arguments.items() if k != number}
            key = row.model, number, str(Spelled(name, others))
            found.setdefault(key, {})[value] = row
    return [
        Varied(*key, points=sorted(points.items(), key=_order))
        for key, points in found.items()
        if len(points) > 1
    ]


def draw_varied(rows: list[Row]) -> Figure:
    """One row of panels for each model and number, a line for each rule."""
    curves = varied(rows)
    panels = list(dict.fromkeys((curve.model, curve.number) for curve in curves))
    drawn = looks([*(curve.rule for curve in curves), *_REFERENCES])
    figure = blank(0.9 + 2.9 * len(panels), layout="constrained")
    grid = figure.subplots(len(panels), len(_MEASURES), squeeze=False)
    for (model, number), line in zip(panels, grid, strict=True):
        mine = [c for c in curves if (c.model, c.number) == (model, number)]
        for axes, measure in zip(line, _MEASURES, strict=True):
            _draw(axes, mine, drawn, measure)
            for row in rows:
                if row.model == model and row.rule in _REFERENCES:
                    _refer(axes, row, drawn[row.rule], measure)
        line[0].set_title(f"{shortened(model, 24)}: {_MEASURES[0].title}")
    shown = {row.rule for row in rows} & set(_REFERENCES)
    names = [n for n in drawn if n not in _REFERENCES or n in shown]
    handles = [handle(drawn[name], shortened(name, 40)) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, handlelength=3)
    title = "what a number of the rules does (bars: 95 % intervals over seeds)"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def _draw(
    axes: Axes, curves: list[Varied], drawn: dict[str, Look], measure: _Measure
) -> None:
    values = [value for curve in curves for value, _ in curve.points]
    numbers = all(_is_number(value) for value in values)
    places = {value: i for i, value in enumerate(dict.fromkeys(values))}
    for curve in curves:
        points = [
            (value if numbers else places[value], measure.of(row))
            for value, row in curve.points
            if row.status in _ENDED
        ]
        look = drawn[curve.rule]
        axes.errorbar(
            [x for x, _ in points],
            [measure.scale * found.mean for _, found in points],
            yerr=[measure.scale * _half(found) for _, found in points],
            color=look.colour,
            linestyle=look.dashes,
            marker=look.marker,
            markersize=6,
            linewidth=1.6,
            elinewidth=1.1,
        )
    if not numbers:
        axes.set_xticks(list(places.values()), [str(value) for value in places])
    axes.set_xlabel(curves[0].number)
    axes.set_title(measure.title)


def _refer(axes: Axes, row: Row, look: Look, measure: _Measure) -> None:
    """A level line for a rule that does not have the number."""
    mean = measure.of(row).mean
    if row.status in _ENDED and math.isfinite(mean):
        axes.axhline(
            measure.scale * mean, color=look.colour, linestyle=look.dashes, linewidth=1
        )


def _half(found: Interval) -> float:
    return float(np.nan_to_num(found.half))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _order(point: tuple[Any, Row]) -> tuple[bool, Any]:
    value = point[0]
    return (False, value) if _is_number(value) else (True, str(value))
