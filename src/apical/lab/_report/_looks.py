"""How each rule is drawn: the same colour, dashes and marker in every figure."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from matplotlib.lines import Line2D

from apical.lab._registry import BASELINE, CONTROL, SQUARED
from apical.lab._report import _palette as palette


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
    BASELINE: Look(palette.BASELINE.light, _SOLID, "o"),
    SQUARED: Look(palette.BASELINE.light, _DASHED, "*"),
    CONTROL: Look(palette.CONTROL.light, _DOTTED, "h"),
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
        markeredgecolor=palette.PAPER.light,
        label=label,
    )


def _look(number: int) -> Look:
    turn, colour = divmod(number, len(palette.HUES))
    return Look(
        palette.HUES[colour].light,
        _DASHES[(_FIRST[colour] + turn) % len(_DASHES)],
        _MARKERS[number % len(_MARKERS)],
    )
