"""A logarithmic axis of ratios to backpropagation, with 1 in sight."""

import math
from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from apical.lab._report._palette import EDGE

_MOST_TICKS = 6


def mark_ratios(axes: Axes, values: Iterable[float]) -> None:
    """Scale the x axis to these ratios and draw the line at 1."""
    known = [value for value in values if drawable(value)]
    low, high = min([0.8, *known]) / 1.2, max([1.25, *known]) * 1.2
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(_ticks(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, position: f"{value:g}")
    axes.axvline(1.0, color=EDGE.light, linewidth=0.8, zorder=0.9)


def drawable(value: float) -> bool:
    """Whether a logarithmic axis has a place for this number."""
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
