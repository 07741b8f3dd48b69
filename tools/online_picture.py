"""Draw the picture of docs/online.md: what passes back through time.

python tools/online_picture.py
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from matplotlib.patches import FancyArrowPatch

from apical.lab.report.figures import _style as palette
from apical.lab.report.figures._style import figure_style, new_figure, render

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "online" / "passes.svg"
STEPS, UNITS = 3, 2
# Title, whether a unit's own weight and those of others are passed, and how.
PANELS = (
    ("EProp, RFLO, OTTT,\nEfficientTraces: nothing", False, False, "-"),
    ("SnAp: a unit's own weight", True, False, "-"),
    ("RTRL: everything", True, True, "-"),
    ("UORO: everything, estimated", True, True, "--"),
)


def place(step: int, unit: int) -> tuple[float, float]:
    """The middle of a unit at a step."""
    return 1.5 * step, 1.5 * unit


def arrow(axes: Any, start: Any, end: Any, colour: str, **look: Any) -> None:
    """An arrow from one unit to another."""
    given = {"arrowstyle": "-|>", "mutation_scale": 9, "shrinkA": 10, "shrinkB": 10}
    axes.add_patch(FancyArrowPatch(start, end, color=colour, **given | look))


def draw_panel(axes: Any, own: bool, others: bool, line: str) -> None:
    """Two units at three steps, and what passes back from each to the step before."""
    signal, absent = palette.HUES[4].light, palette.EDGE.light
    ink = palette.INK.light
    for step, unit in product(range(1, STEPS), range(UNITS)):
        here, before = place(step, unit), place(step - 1, unit)
        arrow(axes, here, before, ink, linewidth=1.6)
        arc = "arc3,rad=0.5" if unit else "arc3,rad=-0.5"
        passed = {"linestyle": line} if own else {"linestyle": ":"}
        colour = signal if own else absent
        arrow(axes, here, before, colour, connectionstyle=arc, **passed)
        passed = {"linestyle": line} if others else {"linestyle": ":"}
        colour = signal if others else absent
        arrow(axes, here, place(step - 1, 1 - unit), colour, **passed)
    for step, unit in product(range(STEPS), range(UNITS)):
        x, y = place(step, unit)
        axes.plot(
            x, y, "o", color=palette.PAPER.light, markeredgecolor=ink, markersize=15
        )
        axes.text(x, y, "ab"[unit], ha="center", va="center")
    for step in range(STEPS):
        x, y = place(step, 0)
        start = (x, y - 1.3)
        axes.text(*start, f"error {step + 1}", ha="center", va="center", fontsize=8)
        for unit, bend in ((0, 0), (1, -0.25)):
            end, bent = place(step, unit), f"arc3,rad={bend}"
            look = {"shrinkA": 7, "connectionstyle": bent}
            arrow(axes, start, end, palette.HUES[2].light, **look)
    axes.set_xlim(-0.6, 1.5 * (STEPS - 1) + 0.6)
    axes.set_ylim(-1.7, 2.2)
    axes.axis("off")


def draw() -> Any:
    """One panel for each group of rules."""
    figure = new_figure(2.7, layout="constrained")
    for i, (title, own, others, line) in enumerate(PANELS, 1):
        axes = figure.add_subplot(1, len(PANELS), i)
        draw_panel(axes, own, others, line)
        axes.set_title(title, fontsize=9)
    return figure


def main() -> None:
    """Write the picture."""
    with figure_style():
        drawn = render(draw())
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(drawn.svg, "utf-8")


if __name__ == "__main__":
    main()
