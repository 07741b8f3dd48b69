"""Figures of rows: one row for each name, one dot for each seed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from apical.claims._plots import above_zero
from apical.lab.report.figures._style import (
    BASELINE_COLOUR,
    HUES,
    MUTED,
    new_figure,
    write_in_panel,
)

_WIDE = 5.0  # a logarithmic axis of less would have one number or none


class Rows(NamedTuple):
    """A panel of rows.

    Attributes:
        title: what is measured.
        values: of each row, in order from the top; rows without values are left out.
        level: a value to mark.
        log: whether the axis is logarithmic, if the values differ by more than 5 times.
    """

    title: str
    values: Mapping[str, Sequence[float]]
    level: float | None = None
    log: bool = True


def rows_figure(panels: Sequence[Rows]) -> Figure:
    """Panels of rows, one below the other: dots of seeds, and a bar at their median."""
    kept = [
        {
            name: [v for v in values if np.isfinite(v)]
            for name, values in p.values.items()
        }
        for p in panels
    ]
    kept = [{name: v for name, v in rows.items() if v} for rows in kept]
    heights = [0.8 + 0.3 * max(1, len(rows)) for rows in kept]
    figure = new_figure(sum(heights) + 0.4, layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, panel, rows in zip(grid, panels, kept, strict=True):
        for place, values in enumerate(rows.values()):
            shown = [above_zero(v) if panel.log else v for v in values]
            axes.plot(shown, [place] * len(shown), "o", color=HUES[4].light, alpha=0.45)
            middle = float(np.median(shown))
            axes.plot(
                [middle], [place], "|", color=BASELINE_COLOUR.light, markersize=12
            )
        axes.set_title(panel.title, loc="left")
        axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
        axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
        every = [above_zero(v) for values in rows.values() for v in values]
        if panel.log and rows and max(every) > _WIDE * min(every):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        if panel.level is not None:
            axes.axvline(panel.level, color=MUTED.light, linewidth=0.8)
        if not rows:
            write_in_panel(axes, "nothing measured")
    return figure


def _finite(rows: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    found = {name: [v for v in vs if np.isfinite(v)] for name, vs in rows.items()}
    return {name: values for name, values in found.items() if values}
