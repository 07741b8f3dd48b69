"""From a figure to PNG and SVG: the same bytes for the same figure."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from apical.lab._report import _palette as palette

WIDTH = 11.0  # inches, of every figure
_DOTS = 150  # to the inch
_STYLE: dict[str, Any] = {
    "axes.edgecolor": palette.EDGE.light,
    "axes.labelcolor": palette.MUTED.light,
    "axes.labelsize": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": palette.INK.light,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.size": 9,
    "grid.color": palette.GRID.light,
    "legend.frameon": False,
    "svg.fonttype": "none",  # words stay words, to be found and edited
    "svg.hashsalt": "apical",
    "text.color": palette.INK.light,
    "text.parse_math": False,  # a name with dollar signs is a name
    "xtick.color": palette.MUTED.light,
    "ytick.color": palette.MUTED.light,
}


class Picture(NamedTuple):
    """A figure in both forms."""

    png: bytes
    svg: str


@contextmanager
def our_style() -> Iterator[None]:
    """The style of every figure, whatever the reader's own settings are."""
    with style.context(_STYLE, after_reset=True), warnings.catch_warnings():
        # A name in a script that the font lacks is a box in the PNG; the SVG has it.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


def blank(height: float, **options: Any) -> Figure:
    """An empty figure of this height in inches."""
    figure = Figure(figsize=(WIDTH, height), **options)
    FigureCanvasAgg(figure)
    return figure


def picture(figure: Figure) -> Picture:
    """Save a figure in both forms; without a date, so that it is always the same."""
    png, svg = io.BytesIO(), io.StringIO()
    figure.savefig(png, format="png", dpi=_DOTS)
    figure.set_layout_engine("none")  # the places found for the PNG do for the SVG
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return Picture(png.getvalue(), svg.getvalue())


def say(axes: Axes, words: str) -> None:
    """Words in the middle of a panel that has nothing else to show."""
    axes.text(
        0.5,
        0.5,
        words,
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=8,
        color=palette.MUTED.light,
        bbox={"facecolor": palette.PAPER.light, "edgecolor": "none", "pad": 2},
    )


def shortened(name: str, length: int) -> str:
    """A name that fits: the middle of a long one is left out.

    Example:
        >>> shortened("predictive-coding", 12)
        'predic…oding'
    """
    if len(name) <= length:
        return name
    tail = (length - 1) // 2
    return f"{name[: length - 1 - tail]}…{name[len(name) - tail :]}"
