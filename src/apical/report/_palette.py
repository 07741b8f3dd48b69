"""Colours of the page beside those of all figures, on light and on dark paper."""

from apical.lab.report.figures._style import Colour

COLOURS = {
    "link": Colour("#0b57b0", "#8cc1ff"),
    "wash": Colour("#f4f6f8", "#1d2127"),
    "line": Colour("#6a737d", "#8b949e"),
    "mark": Colour("#00664b", "#3fd0a4"),
}
