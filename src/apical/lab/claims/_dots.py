"""Dots on a logarithmic scale: the geometric mean of the seeds, by group."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from apical.lab._report import _palette as palette
from apical.lab._report._canvas import blank
from apical.lab.claims._claim import Lines
from apical.lab.claims._curves import above_zero, geometric_mean

_FEW = 1e3


def dots(
    panels: Mapping[str, tuple[Lines, str]],
    group: str,
    dot: str,
    marked: Mapping[str, tuple[float, float]],
) -> Figure:
    """A panel for each measure, side by side.

    Args:
        panels: lines and the measure in them, by the title of the panel.
        group: the field that makes groups along the axis.
        dot: the field that makes the dots of a group.
        marked: a range to shade, by title.
    """
    figure = blank(3.6, layout="constrained")
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, (lines, field)) in zip(all_axes, panels.items(), strict=True):
        groups = list(dict.fromkeys(line[group] for line in lines))
        kinds = list(dict.fromkeys(line[dot] for line in lines))
        axes.set(title=title, yscale="log", xticks=range(len(groups)))
        axes.set_xticklabels(groups, rotation=20, ha="right")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        if title in marked:
            axes.axhspan(*marked[title], color=palette.GRID.light)
        for i, kind in enumerate(kinds):
            here = [ln for ln in lines if ln[dot] == kind]
            heights = [_mean([x for x in here if x[group] == g], field) for g in groups]
            places = np.arange(len(groups)) + (i - (len(kinds) - 1) / 2) * 0.2
            colour = palette.HUES[i % len(palette.HUES)].light
            axes.plot(places, heights, "o", color=colour, label=kind, markersize=6)
        low, high = axes.get_ylim()
        if high < _FEW * low:  # the powers of ten alone would be one or two
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
    handles, labels = all_axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=6)
    return figure


def _mean(lines: Lines, field: str) -> float:
    known = [line[field] for line in lines if line[field] is not None]
    return geometric_mean([above_zero(value) for value in known])
