"""The small plot of one rule: alignment, accuracy and cost, each on its own line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from markupsafe import Markup, escape

from apical.lab.report._html_table import cosine, points, ratio
from apical.report._results import RuleResult

_LEFT, _RIGHT, _WIDTH, _HEIGHT = 66.0, 250.0, 270, 92
_WORST, _BEST = -0.30, 0.05  # of the difference to backpropagation
_CHEAP, _DEAR = 0.3, 100.0  # of the ratios to backpropagation


def small_plot(rule: str, found: RuleResult) -> Markup:
    """The plot as SVG in the colours of the page, with a text alternative.

    Args:
        rule: its name.
        found: its result.

    Example:
        >>> "role='img'" in small_plot("pepita", RuleResult(alignment=(0.0, 0.3)))
        True
    """
    parts = [*_alignment(found), *_difference(found), *_costs(found)]
    return Markup(
        f"<svg class='plot' role='img' viewBox='0 0 {_WIDTH} {_HEIGHT}' "
        f"aria-label='{escape(in_words(rule, found))}'>{''.join(parts)}</svg>"
    )


def in_words(rule: str, found: RuleResult) -> str:
    """What the plot shows, for who does not see it."""
    start, end = (cosine(value) for value in found.alignment)
    costs = ", ".join(
        f"{name} {ratio(value)}" for name, value in _cost_by_name(found).items()
    )
    return (
        f"{rule}: alignment {start} before and {end} after training; difference to "
        f"backpropagation {points(found.difference)} points; cost over "
        f"backpropagation's: {costs}"
    )


def _cost_by_name(found: RuleResult) -> dict[str, float]:
    return {"time": found.time, "memory": found.memory, "depth": found.depth}


# ---- The three lines


def _alignment(found: RuleResult) -> Iterator[str]:
    y = 16.0
    yield _axis(y, "alignment", {0.0: "0", 1.0: "1"}, _along_unit)
    start, end = (_along_unit(value) for value in found.alignment)
    if not math.isnan(start):
        yield f"<circle class='start' cx='{start:.1f}' cy='{y}' r='3.5'/>"
    if not math.isnan(end):
        yield f"<circle class='dot' cx='{end:.1f}' cy='{y}' r='4'/>"


def _difference(found: RuleResult) -> Iterator[str]:
    y = 46.0
    yield _axis(y, "− backprop", {-0.3: "−30", 0.0: "0"}, _along_points)
    mean, half = found.difference
    if math.isnan(mean):
        return
    if not math.isnan(half):
        low, high = _along_points(mean - half), _along_points(mean + half)
        yield f"<path class='bar' d='M{low:.1f} {y}H{high:.1f}'/>"
    if mean < _WORST:  # beyond the end: an arrow
        yield f"<path class='dot' d='M{_LEFT - 5} {y}l8 -4v8z'/>"
    else:
        yield f"<circle class='dot' cx='{_along_points(mean):.1f}' cy='{y}' r='4'/>"


def _costs(found: RuleResult) -> Iterator[str]:
    y = 76.0
    yield _axis(y, "cost", {1.0: "1", 10.0: "10", 100.0: "100"}, _along_ratio)
    shapes = {
        "time": "<circle class='dot' cx='{x:.1f}' cy='{y}' r='4'/>",
        "memory": "<rect class='hollow' x='{left:.1f}' y='{top}' "
        "width='7' height='7'/>",
        "depth": "<path class='bar' d='M{x:.1f} {over}v14'/>",
    }
    for name, value in _cost_by_name(found).items():
        if not math.isnan(value):
            x = _along_ratio(value)
            place = {"x": x, "y": y, "left": x - 3.5, "top": y - 3.5, "over": y - 7}
            yield shapes[name].format(**place)


def _axis(
    y: float, name: str, ticks: dict[float, str], along: Callable[[float], float]
) -> str:
    marks = "".join(
        f"<path class='tick' d='M{along(value):.1f} {y - 4}v8'/>"
        f"<text x='{along(value):.1f}' y='{y + 15}' text-anchor='middle'>{word}</text>"
        for value, word in ticks.items()
    )
    return (
        f"<text x='0' y='{y + 4}'>{name}</text>"
        f"<path class='axis' d='M{_LEFT} {y}H{_RIGHT}'/>{marks}"
    )


# ---- Where a number is on its line; what lies beyond is at the end


def _along_unit(value: float) -> float:
    return _between(value, 0.0, 1.0)


def _along_points(value: float) -> float:
    return _between(value, _WORST, _BEST)


def _along_ratio(value: float) -> float:
    log = math.log(value) if value > 0 else math.log(_CHEAP)
    return _between(log, math.log(_CHEAP), math.log(_DEAR))


def _between(value: float, low: float, high: float) -> float:
    if math.isnan(value):
        return math.nan
    part = min(1.0, max(0.0, (value - low) / (high - low)))
    return _LEFT + part * (_RIGHT - _LEFT)
