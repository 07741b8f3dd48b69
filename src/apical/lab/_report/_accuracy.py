"""Accuracy as an axis and as a point with its interval."""

import math
from collections.abc import Iterable

from matplotlib.axes import Axes

from apical.lab._registry import BASELINE
from apical.lab._report._looks import Look
from apical.lab._report._palette import EDGE, GRID, PAPER
from apical.lab._summary import BAND, Row


def point(axes: Axes, x: float, row: Row, look: Look) -> None:
    """The accuracy of a row in percent, with its interval where there is one."""
    mean, half = row.accuracy
    axes.errorbar(
        x,
        100 * mean,
        yerr=None if math.isnan(half) else 100 * half,
        color=look.colour,
        marker=look.marker,
        markersize=7.5,
        markeredgecolor=PAPER.light,
        markeredgewidth=0.8,
        elinewidth=1.2,
        label=row.rule,
    )


def equivalence_band(axes: Axes, rows: Iterable[Row]) -> None:
    """What counts as equal to the accuracy of each backpropagation."""
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
    """Where an axis of accuracy begins: what tells rules apart is near the top."""
    final = [100 * row.accuracy.mean for row in rows if row.status != "diverged"]
    known = [value for value in final if math.isfinite(value)]
    return max(0.0, min(known) - 10.0) if known else 0.0
