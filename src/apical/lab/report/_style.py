"""From a figure to PNG and SVG: the same bytes for the same figure."""

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apical.lab._registry import BASELINE, CONTROL, SQUARED

# ---- The colours: each by what it is for, on white paper and on dark.
#
# Those of the rules are from Okabe and Ito, which people who confuse red and green can
# tell apart. A figure is drawn in the light ones. Where it stands in the page each is
# replaced by the name of a variable of the stylesheet, so that the figure is dark where
# the page is.


class Colour(NamedTuple):
    """A colour on light and on dark ground, as `#rrggbb`."""

    light: str
    dark: str


PAPER = Colour("#ffffff", "#15181d")
INK = Colour("#1f2328", "#e6e8eb")
MUTED = Colour("#57606a", "#a4acb6")
EDGE = Colour("#8c959f", "#6b737d")
GRID = Colour("#e6e9ed", "#2a2f37")
BASELINE_COLOUR = Colour("#11151a", "#f2f4f7")
CONTROL_COLOUR = Colour("#7d858e", "#98a0a9")
HUES = (
    Colour("#e69f00", "#f0ae2b"),
    Colour("#009e73", "#2cc295"),
    Colour("#d55e00", "#ff7f3f"),
    Colour("#56b4e9", "#8ad2ff"),
    Colour("#0072b2", "#3f93e6"),
    Colour("#cc79a7", "#e79ac6"),
)
# From the input (dark violet, or blue on dark ground) to the output (yellow): every
# second step of viridis, without the end that would be lost on the ground.
DEPTHS = (
    Colour("#440154", "#7d5fd0"),
    Colour("#46307e", "#6f7fd8"),
    Colour("#365c8d", "#5d9bd6"),
    Colour("#277f8e", "#46b0c4"),
    Colour("#1fa187", "#3cc49f"),
    Colour("#4ac16d", "#74d47c"),
    Colour("#9cbf1e", "#b5e04a"),
    Colour("#d4a800", "#fde725"),
)
NAMED: dict[str, Colour] = {
    "paper": PAPER,
    "ink": INK,
    "muted": MUTED,
    "edge": EDGE,
    "grid": GRID,
    "baseline": BASELINE_COLOUR,
    "control": CONTROL_COLOUR,
    **{f"hue-{i}": colour for i, colour in enumerate(HUES)},
    **{f"depth-{i}": colour for i, colour in enumerate(DEPTHS)},
}


# ---- How each rule is drawn: the same colour, dashes and marker in every figure.


class Look(NamedTuple):
    """What tells the line and the point of one rule from those of the others."""

    colour: str
    dashes: Any
    marker: str


_SOLID, _DASHED, _DOTTED = "-", (0, (5, 1.6)), (0, (1.2, 1.3))
_DASHES = (_SOLID, _DASHED, _DOTTED, (0, (6, 1.5, 1.2, 1.5)))
_FIRST = (0, 0, 0, 1, 2, 1)  # which dashes a colour begins with
_MARKERS = ("s", "^", "D", "v", "P", "X", "<", "p", ">", "d", "*")
_FIXED = {
    BASELINE: Look(BASELINE_COLOUR.light, _SOLID, "o"),
    SQUARED: Look(BASELINE_COLOUR.light, _DASHED, "*"),
    CONTROL: Look(CONTROL_COLOUR.light, _DOTTED, "h"),
}


def looks(rules: Iterable[str]) -> dict[str, Look]:
    """A look for each rule; colour and dashes are alike from the 25th on.

    Example:
        >>> found = looks(f"rule {i}" for i in range(24))
        >>> len({(look.colour, look.dashes) for look in found.values()})
        24
    """
    rules = list(dict.fromkeys(rules))
    others = [name for name in rules if name not in _FIXED]
    drawn = {name: _look(i) for i, name in enumerate(others)} | _FIXED
    return {name: drawn[name] for name in rules}


def handle(look: Look, label: str) -> Line2D:
    """What stands for a rule in a legend."""
    return Line2D(
        [],
        [],
        color=look.colour,
        linestyle=look.dashes,
        linewidth=2,
        marker=look.marker,
        markersize=6.5,
        markeredgecolor=PAPER.light,
        label=label,
    )


def _look(number: int) -> Look:
    turn, colour = divmod(number, len(HUES))
    return Look(
        HUES[colour].light,
        _DASHES[(_FIRST[colour] + turn) % len(_DASHES)],
        _MARKERS[number % len(_MARKERS)],
    )


WIDTH = 11.0  # inches, of every figure
_DOTS = 150  # to the inch
_STYLE: dict[str, Any] = {
    "axes.edgecolor": EDGE.light,
    "axes.labelcolor": MUTED.light,
    "axes.labelsize": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK.light,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.size": 9,
    "grid.color": GRID.light,
    "legend.frameon": False,
    "svg.fonttype": "none",  # words stay words, to be found and edited
    "svg.hashsalt": "apical",
    "text.color": INK.light,
    "text.parse_math": False,  # a name with dollar signs is a name
    "xtick.color": MUTED.light,
    "ytick.color": MUTED.light,
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
        color=MUTED.light,
        bbox={"facecolor": PAPER.light, "edgecolor": "none", "pad": 2},
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
