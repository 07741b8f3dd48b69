"""Accuracy against cost: time, FLOPs, memory and sequential depth, as ratios.

The panels of a model share the axis of accuracy. The names stand to the right of the
last, each at its accuracy or as near to it as the others leave room, with the marker
that its points have in every panel.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from apical.lab.report._axes import (
    drawable,
    equivalence_band,
    lowest_shown,
    mark_ratios,
    point,
)
from apical.lab.report._style import (
    EDGE,
    INK,
    PAPER,
    Look,
    blank,
    looks,
    say,
    shortened,
)
from apical.lab.report._summary import Row

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
    drawn = looks(row.rule for row in rows)
    figure = blank(0.35 + sum(heights), layout="constrained")
    grid = figure.subplots(
        len(models),
        5,
        squeeze=False,
        width_ratios=(4, 4, 4, 4, 3.4),
        height_ratios=heights,
    )
    for axes, model, mine in zip(grid, models, shown, strict=True):
        _draw_model(axes, model, mine, drawn)
    figure.suptitle(
        f"last test {rows[0].score.name} (%, bars: 95 % intervals) against cost ÷ "
        "backprop's",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    return figure


def _ended(row: Row) -> bool:
    return row.status in ("ok", "unfinished") and math.isfinite(row.accuracy.mean)


def _draw_model(
    axes: np.ndarray, model: str, rows: list[Row], drawn: dict[str, Look]
) -> None:
    for panel, cost in zip(axes[:4], COSTS, strict=True):
        known = [row for row in rows if drawable(cost.ratio(row))]
        equivalence_band(panel, rows)
        for row in known:
            point(panel, cost.ratio(row), row, drawn[row.rule])
        panel.set_title(cost.title)
        panel.set_xlabel("÷ backprop's")
        panel.set_ylim(lowest_shown(rows), 100.5)
        mark_ratios(panel, [cost.ratio(row) for row in known])
        if not known:
            say(panel, "not measured")
        if panel is not axes[0]:
            panel.set_yticklabels([])
    axes[0].set_ylabel(
        shortened(model, 24), color=INK.light, fontsize=10, weight="bold"
    )
    _name(axes[4], rows, drawn)


def _name(axes: Axes, rows: list[Row], drawn: dict[str, Look]) -> None:
    """The names beside the last panel, in the order of accuracy."""
    low, high = lowest_shown(rows), 100.5
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(low, high))
    ordered = sorted(rows, key=lambda row: row.accuracy.mean)
    wanted = np.array([100 * row.accuracy.mean for row in ordered])
    room = max(_LEAST, _LINE * len(rows))
    places = spread(wanted, _LINE * (high - low) / room, low, high)
    for row, at, place in zip(ordered, wanted, places, strict=True):
        look = drawn[row.rule]
        faint: dict[str, Any] = {"color": EDGE.light, "linewidth": 0.7}
        axes.plot([0.0, 0.08], [at, place], clip_on=False, **faint)
        axes.plot(
            [0.13],
            [place],
            color=look.colour,
            marker=look.marker,
            markersize=7,
            markeredgecolor=PAPER.light,
            markeredgewidth=0.6,
            clip_on=False,
        )
        axes.text(0.19, place, shortened(row.rule, 26), va="center", fontsize=8.5)


def spread(wanted: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Places as near to those wanted as a gap between neighbours leaves room for.

    With offsets i · gap taken off, the nearest places in order are an isotonic
    regression.

    Args:
        wanted: the places wanted, in rising order.
        gap: the least distance between neighbours.
        low: the lowest place there is.
        high: the highest; passed only where there is not room enough for all.

    Returns:
        The places, in the same order.

    Example:
        >>> spread(np.array([1.0, 1.0, 5.0]), gap=1.0, low=0.0, high=10.0)
        array([0.5, 1.5, 5. ])
    """
    if not wanted.size:
        return wanted
    offsets = gap * np.arange(wanted.size)
    fitted = isotonic_regression(wanted - offsets).x
    return np.clip(fitted, low, max(low, high - offsets[-1])) + offsets
