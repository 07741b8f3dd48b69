"""Figure of accuracy against cost: time, FLOPs, memory and sequential depth.

Costs are ratios to backpropagation. The panels of a model share the accuracy axis; the
names to the right of the last panel are placed as near to their accuracies as fits.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from apical.lab.report._summary import Row
from apical.lab.report.figures._axes import (
    drawable,
    equivalence_band,
    lowest_shown,
    mark_ratios,
    point,
)
from apical.lab.report.figures._style import (
    EDGE,
    INK,
    PAPER,
    LineStyle,
    line_styles,
    new_figure,
    shorten,
    write_in_panel,
)

_LINE, _LEAST, _AROUND = 0.165, 2.1, 0.85  # inches: of a name, of a panel, around it


class _Cost(NamedTuple):
    title: str
    ratio: Callable[[Row], float]


COSTS = (
    _Cost("time of a step", lambda row: row.time_ratio),
    _Cost("FLOPs", lambda row: row.flops_ratio),
    _Cost("memory", lambda row: row.memory_ratio),
    _Cost("sequential depth", lambda row: row.depth / row.depth_of_backpropagation),
)


def draw_costs(rows: list[Row]) -> Figure:
    """One row of panels for each model, one panel for each cost."""
    models = list(dict.fromkeys(row.model for row in rows))
    shown = [
        [row for row in rows if row.model == model and _ended(row)] for model in models
    ]
    heights = [max(_LEAST, _LINE * len(mine)) + _AROUND for mine in shown]
    styles = line_styles(row.rule for row in rows)
    figure = new_figure(0.35 + sum(heights), layout="constrained")
    grid = figure.subplots(
        len(models),
        5,
        squeeze=False,
        width_ratios=(4, 4, 4, 4, 3.4),
        height_ratios=heights,
    )
    for axes, model, mine in zip(grid, models, shown, strict=True):
        _draw_model(axes, model, mine, styles)
    figure.suptitle(
        f"final test {rows[0].score.name} (%, bars: 95 % intervals) against cost "
        "relative to backprop",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    return figure


def _ended(row: Row) -> bool:
    return row.status in ("ok", "unfinished") and math.isfinite(row.accuracy.mean)


def _draw_model(
    axes: np.ndarray, model: str, rows: list[Row], styles: dict[str, LineStyle]
) -> None:
    for panel, cost in zip(axes[:4], COSTS, strict=True):
        known = [row for row in rows if drawable(cost.ratio(row))]
        equivalence_band(panel, rows)
        for row in known:
            point(panel, cost.ratio(row), row, styles[row.rule])
        panel.set_title(cost.title)
        panel.set_xlabel("ratio to backprop")
        panel.set_ylim(lowest_shown(rows), 100.5)
        mark_ratios(panel, [cost.ratio(row) for row in known])
        if not known:
            write_in_panel(panel, "not measured")
        if panel is not axes[0]:
            panel.set_yticklabels([])
    axes[0].set_ylabel(shorten(model, 24), color=INK.light, fontsize=10, weight="bold")
    _name(axes[4], rows, styles)


def _name(axes: Axes, rows: list[Row], styles: dict[str, LineStyle]) -> None:
    """Write the names beside the last panel, in the order of accuracy."""
    low, high = lowest_shown(rows), 100.5
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(low, high))
    ordered = sorted(rows, key=lambda row: row.accuracy.mean)
    wanted = np.array([100 * row.accuracy.mean for row in ordered])
    available = max(_LEAST, _LINE * len(rows))
    places = spread(wanted, _LINE * (high - low) / available, low, high)
    for row, at, place in zip(ordered, wanted, places, strict=True):
        style = styles[row.rule]
        faint: dict[str, Any] = {"color": EDGE.light, "linewidth": 0.7}
        axes.plot([0.0, 0.08], [at, place], clip_on=False, **faint)
        axes.plot(
            [0.13],
            [place],
            color=style.colour,
            marker=style.marker,
            markersize=7,
            markeredgecolor=PAPER.light,
            markeredgewidth=0.6,
            clip_on=False,
        )
        axes.text(0.19, place, shorten(row.rule, 26), va="center", fontsize=8.5)


def spread(wanted: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """The positions nearest to those wanted, with a minimum gap between neighbours.

    After subtracting the offsets i · gap, this is an isotonic regression.

    Args:
        wanted: the wanted positions, in ascending order.
        gap: the minimum distance between neighbours.
        low: the lowest position.
        high: the highest position; exceeded only if the positions do not fit.

    Returns:
        The positions, in the same order.

    Example:
        >>> spread(np.array([1.0, 1.0, 5.0]), gap=1.0, low=0.0, high=10.0)
        array([0.5, 1.5, 5. ])
    """
    if not wanted.size:
        return wanted
    offsets = gap * np.arange(wanted.size)
    fitted = isotonic_regression(wanted - offsets).x
    return np.clip(fitted, low, max(low, high - offsets[-1])) + offsets
