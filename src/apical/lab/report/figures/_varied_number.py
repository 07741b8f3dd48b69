"""Figure of accuracy and alignment against a hyper-parameter (`vary=`).

Rows whose names differ in one argument, as `rule(removed=0.0)` and `rule(removed=0.5)`,
are the points of one curve.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apical.lab._call_syntax import NamedCall, parse_call_or_name
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.report._summary import Interval, Row
from apical.lab.report.figures._style import (
    LineStyle,
    legend_handle,
    line_styles,
    new_figure,
    shorten,
)

_REFERENCES = (BASELINE, CONTROL)
_ENDED = ("ok", "unfinished")


class Varied(NamedTuple):
    """The rows of one model that differ in one argument of a rule.

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
    _Measure("final test accuracy (%)", lambda row: row.accuracy, 100.0),
    _Measure("final alignment", lambda row: row.alignment_end, 1.0),
)


def varied(rows: list[Row]) -> list[Varied]:
    """The sets of rows that make a curve, with two values or more."""
    found: dict[tuple[str, str, str], dict[Any, Row]] = {}
    for row in rows:
        name, arguments = parse_call_or_name(row.rule)
        for number, value in arguments.items():
            others = {k: v for k, v in arguments.items() if k != number}
            key = row.model, number, str(NamedCall(name, others))
            found.setdefault(key, {})[value] = row
    return [
        Varied(*key, points=sorted(points.items(), key=_order))
        for key, points in found.items()
        if len(points) > 1
    ]


def draw_varied(rows: list[Row]) -> Figure:
    """One row of panels for each model and hyper-parameter, a line for each rule."""
    curves = varied(rows)
    panels = list(dict.fromkeys((curve.model, curve.number) for curve in curves))
    styles = line_styles([*(curve.rule for curve in curves), *_REFERENCES])
    figure = new_figure(0.9 + 2.9 * len(panels), layout="constrained")
    grid = figure.subplots(len(panels), len(_MEASURES), squeeze=False)
    for (model, number), line in zip(panels, grid, strict=True):
        mine = [c for c in curves if (c.model, c.number) == (model, number)]
        for axes, measure in zip(line, _MEASURES, strict=True):
            _draw(axes, mine, styles, measure)
            for row in rows:
                if row.model == model and row.rule in _REFERENCES:
                    _refer(axes, row, styles[row.rule], measure)
        line[0].set_title(f"{shorten(model, 24)}: {_MEASURES[0].title}")
    shown = {row.rule for row in rows} & set(_REFERENCES)
    names = [n for n in styles if n not in _REFERENCES or n in shown]
    handles = [legend_handle(styles[name], shorten(name, 40)) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, handlelength=3)
    title = "effect of a hyper-parameter (bars: 95 % intervals over seeds)"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def _draw(
    axes: Axes, curves: list[Varied], styles: dict[str, LineStyle], measure: _Measure
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
        style = styles[curve.rule]
        axes.errorbar(
            [x for x, _ in points],
            [measure.scale * found.mean for _, found in points],
            yerr=[measure.scale * _half(found) for _, found in points],
            color=style.colour,
            linestyle=style.dashes,
            marker=style.marker,
            markersize=6,
            linewidth=1.6,
            elinewidth=1.1,
        )
    if not numbers:
        axes.set_xticks(list(places.values()), [str(value) for value in places])
    axes.set_xlabel(curves[0].number)
    axes.set_title(measure.title)


def _refer(axes: Axes, row: Row, style: LineStyle, measure: _Measure) -> None:
    """Draw a horizontal line for a rule without the hyper-parameter."""
    mean = measure.of(row).mean
    if row.status in _ENDED and math.isfinite(mean):
        axes.axhline(
            measure.scale * mean,
            color=style.colour,
            linestyle=style.dashes,
            linewidth=1,
        )


def _half(found: Interval) -> float:
    return float(np.nan_to_num(found.half))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _order(point: tuple[Any, Row]) -> tuple[bool, Any]:
    value = point[0]
    return (False, value) if _is_number(value) else (True, str(value))
