"""Figure of accuracy and alignment over the epochs, and of accuracy against time."""

import math
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from apical.lab.report._summary import Row, RunLines, by_run, curve, interval
from apical.lab.report._terminal_table import tuning
from apical.lab.report.figures._axes import (
    equivalence_band,
    lowest_shown,
    mark_ratios,
    point,
)
from apical.lab.report.figures._style import (
    PAPER,
    LineStyle,
    legend_handle,
    line_styles,
    new_figure,
    shorten,
)
from apical.lab.storage._jsonl import Line, Lines

_LEGEND_LETTERS = 112  # that fit side by side
_LOST = ("diverged", "refused")
_MARKS = 4  # markers on a line


def draw_curves(records: Lines, rows: list[Row]) -> Figure:
    """One row of panels for each model, one line for each rule."""
    models = list(dict.fromkeys(row.model for row in rows))
    styles = line_styles(row.rule for row in rows)
    runs = by_run(records)
    handles = [
        legend_handle(style, _label(name, rows)) for name, style in styles.items()
    ]
    labels = [str(entry.get_label()) for entry in handles]
    columns = min(4, _LEGEND_LETTERS // (6 + max(map(len, labels))))
    legend = 0.22 * math.ceil(len(styles) / columns)
    figure = new_figure(0.7 + 3.0 * len(models) + legend, layout="constrained")
    grid = figure.subplots(len(models), 3, squeeze=False, width_ratios=(5, 5, 4))
    for axes, model in zip(grid, models, strict=True):
        mine = [row for row in rows if row.model == model]
        for panel, draw in zip(axes, PANELS.values(), strict=True):
            draw(panel, model, mine, runs, styles)
    where = "outside lower center"
    figure.legend(handles, labels, loc=where, ncols=columns, handlelength=3)
    figure.suptitle(_title(records[0]), x=0.01, ha="left", fontsize=11)
    return figure


def draw_panel(
    axes: Axes, panel: str, model: str, records: Lines, rows: list[Row]
) -> None:
    """Draw one of `PANELS` of one model, with labels for a legend."""
    styles = line_styles(row.rule for row in rows)
    mine = [row for row in rows if row.model == model]
    PANELS[panel](axes, model, mine, by_run(records), styles)


def _draw_score(
    axes: Axes,
    model: str,
    rows: list[Row],
    runs: RunLines,
    styles: dict[str, LineStyle],
) -> None:
    score = rows[0].score
    _draw_curves(axes, f"test_{score.field}", 100, rows, runs, styles)
    axes.set_title(f"{shorten(model, 24)}: test {score.name} (%)")
    axes.set_ylim(lowest_shown(rows), 100.5)


def _draw_alignment(
    axes: Axes,
    model: str,
    rows: list[Row],
    runs: RunLines,
    styles: dict[str, LineStyle],
) -> None:
    del model
    _draw_curves(axes, "alignment_hidden", 1, rows, runs, styles)
    axes.set_title("hidden layers' cosine to backprop's gradient")
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.04)


def _draw_time(
    axes: Axes,
    model: str,
    rows: list[Row],
    runs: RunLines,
    styles: dict[str, LineStyle],
) -> None:
    del model, runs
    for row in rows:
        if row.status in ("ok", "unfinished") and math.isfinite(row.time_ratio):
            point(axes, row.time_ratio, row, styles[row.rule])
    equivalence_band(axes, rows)
    axes.set_title(f"final {rows[0].score.name} (%) against time")
    axes.set_xlabel("time of a step / backprop's")
    axes.set_ylim(lowest_shown(rows), 100.5)
    mark_ratios(axes, [row.time_ratio for row in rows])


# The panels of a model, from left to right.
PANELS = {"score": _draw_score, "alignment": _draw_alignment, "time": _draw_time}


def _draw_curves(
    axes: Axes,
    field: str,
    scale: float,
    rows: list[Row],
    runs: RunLines,
    styles: dict[str, LineStyle],
) -> None:
    shade = min(0.18, 0.9 / len(rows))  # many bands on one another stay pale
    for order, row in enumerate(rows):
        style, mine = styles[row.rule], runs[row.model, row.rule]
        # Rules that agree exactly lie on one another: the later ones are thinner.
        width = max(3.2 - 0.35 * order, 1.3)
        line = _Line(row.rule, style, width, shade, order)
        _curve(axes, *curve(mine, field), line, scale)
    _label_epochs(axes, runs[rows[0].model, rows[0].rule][0]["epochs"])


class _Line(NamedTuple):
    """The appearance of one rule in one panel."""

    label: str
    style: LineStyle
    width: float
    shade: float
    order: int


def _curve(
    axes: Axes,
    epochs: np.ndarray,
    values: np.ndarray,
    line: _Line,
    scale: float,
) -> None:
    style = line.style
    alive = [scale * row[np.isfinite(row)] for row in values]
    shown = [i for i, row in enumerate(alive) if row.size]
    if not shown:
        return
    middles, halves = zip(*(interval(alive[i]) for i in shown), strict=True)
    middle, half, x = np.array(middles), np.nan_to_num(halves), epochs[shown]
    every = max(1, len(shown) // _MARKS)
    axes.plot(
        x,
        middle,
        color=style.colour,
        linestyle=style.dashes,
        linewidth=line.width,
        marker=style.marker,
        markersize=5.5,
        markeredgecolor=PAPER.light,
        markeredgewidth=0.6,
        markevery=(line.order % every, every),
        label=line.label,
    )
    # Neither a cosine nor a fraction exceeds this.
    low, high = (np.clip(middle + d, -scale, scale) for d in (-half, half))
    axes.fill_between(x, low, high, color=style.colour, alpha=line.shade, linewidth=0)


def _label_epochs(axes: Axes, epochs: int) -> None:
    axes.set_xlabel("epoch")
    axes.set_xlim(-0.02 * epochs, 1.02 * epochs)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _label(name: str, rows: list[Row]) -> str:
    """The rule, and whether it was refused or diverged."""
    lost = [row for row in rows if row.rule == name and row.status in _LOST]
    kinds = sorted({row.status for row in lost})
    label = shorten(name, 28)
    return f"{label} ({', '.join(kinds)})" if kinds else label


def _title(record: Line) -> str:
    number = record["seeds"]
    seeds = (
        "1 seed"
        if number == 1
        else f"{number} seeds (bands: 95 % intervals over seeds)"
    )
    return f"{record['data']} · {seeds} · {tuning(record)}"
