"""The pictures of docs/rules: a family among all rules, and the needs of each rule."""

from __future__ import annotations

from typing import Any, NamedTuple

from every_rule_tables import TUNED
from matplotlib.layout_engine import ConstrainedLayoutEngine
from rule_page_sections import FAMILIES
from rule_pages import every

from apical.lab._registry import BASELINE, CONTROL, SQUARED
from apical.lab.report.figures._style import (
    EDGE,
    GRID,
    figure_style,
    legend_handle,
    line_styles,
    new_figure,
    render,
)
from apical.measure import needs_table, plot_needs

REFERENCES = (BASELINE, SQUARED, CONTROL)


class Difference(NamedTuple):
    """A need that is declared otherwise than it was measured."""

    need: str


class Strip(NamedTuple):
    """What `plot_needs` reads of a result: here of the kept table."""

    rule: str
    measured: dict[str, bool]
    declared: tuple[str, ...]
    mismatches: tuple[Difference, ...]


def needs_of(name: str) -> Strip:
    """The strip of one rule."""
    found = needs_table()[name]
    decided = {
        need: a == "yes" for need, a in found.needs.items() if a in ("yes", "no")
    }
    different = tuple(map(Difference, found.mismatches))
    return Strip(name, decided, found.declared, different)


def names_of(family: str) -> list[str]:
    """The rules of a page by their names."""
    return [name for part in FAMILIES[family].values() for name in part.settings]


def picture(family: str) -> str:
    """Accuracy against alignment, if there is any, beside the strips of needs."""
    names = names_of(family)
    compared = [name for name in names if name in every()[TUNED]]
    height = (5.4 if compared else 2.2) + 0.2 * len(names)
    with figure_style():
        # Slanted labels reach beyond the box that the layout knows.
        layout = ConstrainedLayoutEngine(h_pad=0.25, w_pad=0.15)
        figure = new_figure(height, layout=layout)
        if compared:
            left, right = figure.subplots(1, 2, width_ratios=(5, 5))
            scatter(left, compared)
        else:
            right = figure.subplots()
        strips: Any = [needs_of(name) for name in ("backpropagation", *names)]
        plot_needs(strips, ax=right)
        return render(figure).svg


def scatter(axes: Any, family: list[str]) -> None:
    """The final accuracy of every rule over its alignment; the family in colour."""
    lines = every()[TUNED]
    shown = [*REFERENCES, *family]
    looks = line_styles(shown)
    for name, line in lines.items():
        (mean, half), at = line["accuracy"], line["alignment"][1]
        if mean is None or at is None:
            continue
        mine = name in shown
        axes.errorbar(
            at,
            mean,
            yerr=half if mine else None,
            color=looks[name].colour if mine else GRID.light,
            marker=looks[name].marker if mine else "o",
            markersize=8 if mine else 5,
            markeredgecolor=EDGE.light,
            markeredgewidth=0.6,
            linestyle="none",
            zorder=3 if mine else 2,
        )
    handles = [legend_handle(looks[name], name) for name in shown]
    for handle in handles:
        handle.set_linestyle("none")
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "ncols": 2}
    axes.legend(handles=handles, fontsize=8, **below)
    axes.set(xlabel="alignment of the hidden layers after training", ylim=(None, 101))
    axes.set_ylim(bottom=max(0, axes.get_ylim()[0]))
    axes.set_title("accuracy on the digits (%) over alignment; grey: others")
