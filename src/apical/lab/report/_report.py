"""Write the report of a comparison: figures as PNG and SVG, and the HTML page."""

from pathlib import Path
from typing import Any

from apical.lab.report._html import page
from apical.lab.report.figures._costs import draw_costs
from apical.lab.report.figures._curves import draw_curves
from apical.lab.report.figures._layers import draw_layers
from apical.lab.report.figures._style import Rendered, figure_style, render
from apical.lab.report.figures._trials import draw_trials
from apical.lab.report.figures._varied_number import draw_varied, varied
from apical.lab.storage._jsonl import replace_file


def write_report(comparison: Any, folder: Path) -> None:
    """Draw the figures and write the page `report.html`.

    Args:
        comparison: its `records`, `layers`, `trials`, `costs` and `rows` are read.
        folder: an existing folder for the files.

    Raises:
        LabError: if the comparison has no records yet.
    """
    pictures = draw_all(comparison)
    for name, drawn in pictures.items():
        replace_file(folder / f"{name}.png", drawn.png)
        replace_file(folder / f"{name}.svg", drawn.svg.encode())
    drawings = {name: drawn.svg for name, drawn in pictures.items()}
    replace_file(
        folder / "report.html", page(comparison, drawings).encode("utf-8", "replace")
    )


def draw_all(comparison: Any) -> dict[str, Rendered]:
    """The figures for which there are results, by file name."""
    rows = comparison.rows
    with figure_style():
        figures = {"figure": draw_curves(comparison.records, rows)}
        if comparison.layers:
            figures["layers"] = draw_layers(comparison.layers)
        figures["cost"] = draw_costs(rows)
        if varied(rows):
            figures["varied"] = draw_varied(rows)
        if comparison.trials:
            figures["trials"] = draw_trials(comparison.trials)
        return {name: render(figure) for name, figure in figures.items()}
