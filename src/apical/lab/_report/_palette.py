"""The colours: each by what it is for, on white paper and on dark.

Those of the rules are from Okabe and Ito, which people who confuse red and green can
tell apart. A figure is drawn in the light ones. Where it stands in the page each is
replaced by the name of a variable of the stylesheet, so that the figure is dark where
the page is.
"""

from typing import NamedTuple


class Colour(NamedTuple):
    """A colour on light and on dark ground, as `#rrggbb`."""

    light: str
    dark: str


PAPER = Colour("#ffffff", "#15181d")
INK = Colour("#1f2328", "#e6e8eb")
MUTED = Colour("#57606a", "#a4acb6")
EDGE = Colour("#8c959f", "#6b737d")
GRID = Colour("#e6e9ed", "#2a2f37")
BASELINE = Colour("#11151a", "#f2f4f7")
CONTROL = Colour("#7d858e", "#98a0a9")
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
    "baseline": BASELINE,
    "control": CONTROL,
    **{f"hue-{i}": colour for i, colour in enumerate(HUES)},
    **{f"depth-{i}": colour for i, colour in enumerate(DEPTHS)},
}
