"""Small multiples: a small panel for each rule, under a heading for each model."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apical.lab._report._canvas import WIDTH, blank, shortened

# In inches. They are placed by hand: to let matplotlib find the places of a hundred
# panels takes longer than to draw them.
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
    """Empty panels, to be drawn into.

    Args:
        blocks: the rules of each model.
        title: of the whole figure.
        heading: height of the heading of a model, in inches.
        unit: what stands under the lowest panel of a column.
    """
    rows = {model: math.ceil(len(rules) / _COLUMNS) for model, rules in blocks.items()}
    step = _TITLE + _PANEL + _UNDER
    height = _TOP + _BOTTOM + sum(heading + n * step for n in rows.values())
    figure = blank(height)
    figure.text(0.01, 1 - 0.14 / height, title, fontsize=11, va="top")
    panels, headings, top = {}, {}, height - _TOP
    for model, rules in blocks.items():
        headings[model] = _heading(figure, model, top, heading)
        for i, rule in enumerate(rules):
            bottom = top - heading - (i // _COLUMNS + 1) * step + _UNDER
            axes = _panel(figure, i % _COLUMNS, bottom)
            axes.set_title(shortened(rule, _LETTERS), fontsize=8.5, weight="normal")
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
