"""The figure: accuracy and alignment over training, and accuracy against time.

One row of panels per model. The colours are those of Okabe and Ito, which people who
confuse red and green can tell apart; dashes and markers say the same once more.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from apical.lab._summary import Records, Row, curve, interval, of_run, summarise

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": "#8c8c8c",
    "axes.labelcolor": "#333333",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.grid": True,
    "grid.color": "#ececec",
    "font.size": 9,
    "legend.frameon": False,
    "svg.fonttype": "none",  # words stay words, to be found and edited
    "svg.hashsalt": "apical",
    "text.color": "#222222",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}


class _Look(NamedTuple):
    colour: str
    dashes: Any
    marker: str


_SOLID, _DASHED, _DOTTED = "-", (0, (5, 2)), (0, (1.5, 1.5))
_LOOKS = (
    _Look("#000000", _SOLID, "o"),
    _Look("#E69F00", _SOLID, "s"),
    _Look("#009E73", _SOLID, "^"),
    _Look("#D55E00", _SOLID, "D"),
    _Look("#56B4E9", _DASHED, "v"),
    _Look("#0072B2", _DOTTED, "P"),
    _Look("#CC79A7", _DASHED, "X"),
    _Look("#8c8c8c", _DOTTED, "h"),
)


def draw(records: Records, path: Path) -> None:
    """Draw a comparison and save it; the ending of the path names the format."""
    rows = summarise(records)
    models = list(dict.fromkeys(row.model for row in rows))
    names = dict.fromkeys(row.rule for row in rows)
    looks = {name: _LOOKS[i % len(_LOOKS)] for i, name in enumerate(names)}
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11.0, 0.9 + 3.0 * len(models)), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(models), 3, squeeze=False, width_ratios=(5, 5, 4))
        for axes, model in zip(grid, models, strict=True):
            mine = [row for row in rows if row.model == model]
            _draw_model(axes, model, mine, records, looks)
        _legend(figure, looks)
        figure.suptitle(_title(records[0]), x=0.01, ha="left", fontsize=11)
        # Without its date the same records give the same file.
        undated = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, dpi=150, metadata=undated)


def _draw_model(
    axes: np.ndarray,
    model: str,
    rows: list[Row],
    records: Records,
    looks: dict[str, _Look],
) -> None:
    accuracy, alignment, cost = axes
    for order, row in enumerate(rows):
        look, mine = looks[row.rule], of_run(records, model, row.rule)
        # Rules that agree exactly lie on one another: the later ones are thinner.
        width = max(3.2 - 0.4 * order, 1.2)
        _curve(accuracy, mine, "test_accuracy", look, width, scale=100)
        _curve(alignment, mine, "alignment", look, width, scale=1)
        _point(cost, row, look)
    _label_accuracy(accuracy, model, rows)
    _label_alignment(alignment)
    _label_cost(cost, accuracy)


def _curve(
    axes: Axes, records: Records, field: str, look: _Look, width: float, scale: float
) -> None:
    epochs, values = curve(records, field)
    alive = [_finite(row) for row in scale * values]
    shown = [i for i, row in enumerate(alive) if row.size]
    if not shown:
        return
    middles, halves = zip(*(interval(alive[i]) for i in shown), strict=True)
    middle, half, x = np.array(middles), np.nan_to_num(halves), epochs[shown]
    axes.plot(x, middle, color=look.colour, linestyle=look.dashes, linewidth=width)
    axes.fill_between(
        x, middle - half, middle + half, color=look.colour, alpha=0.15, linewidth=0
    )


def _point(axes: Axes, row: Row, look: _Look) -> None:
    mean, half = row.accuracy
    if row.status not in ("ok", "unfinished") or math.isnan(row.time_ratio):
        return
    axes.errorbar(
        row.time_ratio,
        100 * mean,
        yerr=None if math.isnan(half) else 100 * half,
        color=look.colour,
        marker=look.marker,
        markersize=8,
        markeredgecolor="white",
        markeredgewidth=0.8,
        elinewidth=1.2,
    )


def _label_accuracy(axes: Axes, model: str, rows: list[Row]) -> None:
    axes.set_title(f"{model}: test accuracy (%)")
    axes.set_xlabel("epoch")
    final = [100 * row.accuracy.mean for row in rows if row.status != "diverged"]
    known = [value for value in final if math.isfinite(value)]
    # The first epochs are alike and low: what tells rules apart is near the top.
    low = max(0.0, min(known) - 10.0) if known else 0.0
    axes.set_ylim(low, 100.5)
    axes.margins(x=0.01)


def _label_alignment(axes: Axes) -> None:
    axes.set_title("alignment (cosine to backprop's gradient)")
    axes.set_xlabel("epoch")
    low = min(0.0, axes.get_ylim()[0])
    axes.set_ylim(low, 1.04)
    axes.margins(x=0.01)


def _label_cost(axes: Axes, accuracy: Axes) -> None:
    axes.set_title("last accuracy (%) against time")
    axes.set_xlabel("time of a step ÷ backprop's")
    axes.set_xscale("log", base=2)
    axes.set_ylim(*accuracy.get_ylim())
    axes.xaxis.set_major_formatter(lambda value, position: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def _legend(figure: Figure, looks: dict[str, _Look]) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=look.colour,
            linestyle=look.dashes,
            linewidth=2,
            marker=look.marker,
            markersize=7,
            markeredgecolor="white",
            label=name.replace("-", " "),
        )
        for name, look in looks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=3)


def _title(record: dict[str, Any]) -> str:
    return (
        f"{record['data']} · {record['seeds']} seeds (bands: 95 % intervals) · "
        f"{record['optimizer']}, step size {record['rate']:g} for all, no tuning"
    )


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]
