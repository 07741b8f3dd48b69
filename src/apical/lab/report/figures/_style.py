"""Style of all figures: colours, line styles, matplotlib settings, PNG and SVG."""

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

# ---- Colours, on a light and on a dark background
#
# Those of the rules are the palette of Okabe and Ito, which colour-blind readers can
# tell apart. Figures are drawn in the light colours. In the HTML page each colour is
# replaced by a CSS variable, so that figures follow the dark mode of the page.


class Colour(NamedTuple):
    """A colour on a light and on a dark background, as `#rrggbb`."""

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
# From the input (dark violet, or blue on dark) to the output (yellow): every second
# step of viridis, without the end that the background would hide.
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


# ---- Line styles: the same colour, dashes and marker for a rule in every figure


class LineStyle(NamedTuple):
    """Colour, dashes and marker of one rule."""

    colour: str
    dashes: Any
    marker: str


_SOLID, _DASHED, _DOTTED = "-", (0, (5, 1.6)), (0, (1.2, 1.3))
_DASHES = (_SOLID, _DASHED, _DOTTED, (0, (6, 1.5, 1.2, 1.5)))
_FIRST = (0, 0, 0, 1, 2, 1)  # the first dashes of each colour
_MARKERS = ("s", "^", "D", "v", "P", "X", "<", "p", ">", "d", "*")
_FIXED = {
    BASELINE: LineStyle(BASELINE_COLOUR.light, _SOLID, "o"),
    SQUARED: LineStyle(BASELINE_COLOUR.light, _DASHED, "*"),
    CONTROL: LineStyle(CONTROL_COLOUR.light, _DOTTED, "h"),
}


def line_styles(rules: Iterable[str]) -> dict[str, LineStyle]:
    """A line style for each rule; colour and dashes repeat after 24 rules.

    Example:
        >>> found = line_styles(f"rule {i}" for i in range(24))
        >>> len({(look.colour, look.dashes) for look in found.values()})
        24
    """
    rules = list(dict.fromkeys(rules))
    others = [name for name in rules if name not in _FIXED]
    styles = {name: _line_style(i) for i, name in enumerate(others)} | _FIXED
    return {name: styles[name] for name in rules}


def legend_handle(line: LineStyle, label: str) -> Line2D:
    """The legend entry of a rule."""
    return Line2D(
        [],
        [],
        color=line.colour,
        linestyle=line.dashes,
        linewidth=2,
        marker=line.marker,
        markersize=6.5,
        markeredgecolor=PAPER.light,
        label=label,
    )


def _line_style(number: int) -> LineStyle:
    turn, colour = divmod(number, len(HUES))
    return LineStyle(
        HUES[colour].light,
        _DASHES[(_FIRST[colour] + turn) % len(_DASHES)],
        _MARKERS[number % len(_MARKERS)],
    )


WIDTH = 11.0  # inches, of every figure
_DPI = 150  # dots per inch
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
    "svg.fonttype": "none",  # text stays text, which can be searched and edited
    "svg.hashsalt": "apical",
    "text.color": INK.light,
    "text.parse_math": False,  # dollar signs in a name are not math
    "xtick.color": MUTED.light,
    "ytick.color": MUTED.light,
}


class Rendered(NamedTuple):
    """A figure as PNG and SVG."""

    png: bytes
    svg: str


@contextmanager
def figure_style() -> Iterator[None]:
    """The style of every figure, independent of the user's matplotlib settings."""
    with style.context(_STYLE, after_reset=True), warnings.catch_warnings():
        # Letters that the font lacks are boxes in the PNG; the SVG has them.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


def new_figure(height: float, **options: Any) -> Figure:
    """An empty figure with this height in inches."""
    figure = Figure(figsize=(WIDTH, height), **options)
    FigureCanvasAgg(figure)
    return figure


def render(figure: Figure) -> Rendered:
    """Render a figure as PNG and SVG, without a date: the same bytes each time."""
    png, svg = io.BytesIO(), io.StringIO()
    figure.savefig(png, format="png", dpi=_DPI)
    figure.set_layout_engine("none")  # the SVG keeps the layout of the PNG
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return Rendered(png.getvalue(), svg.getvalue())


def write_in_panel(axes: Axes, words: str) -> None:
    """Write text in the middle of a panel that has no data."""
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


def shorten(name: str, length: int) -> str:
    """A name of at most this length, with an ellipsis in the middle.

    Example:
        >>> shorten("predictive-coding", 12)
        'predic…oding'
    """
    if len(name) <= length:
        return name
    tail = (length - 1) // 2
    return f"{name[: length - 1 - tail]}…{name[len(name) - tail :]}"
