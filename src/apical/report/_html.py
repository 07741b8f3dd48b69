"""The page of all rules as one HTML file that loads nothing from the network.

The text is in `templates/page.html.jinja`; this module computes what it is filled with.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from apical import __version__
from apical.claims import Kept, kept_claims
from apical.lab._registry import CONTROL
from apical.lab.report._html import jinja_environment
from apical.lab.report._html_table import (
    Cell,
    cosine,
    counted,
    percent,
    points,
    ratio,
)
from apical.lab.report._summary import BAND, BASELINES, Interval, standing
from apical.lab.report.figures._style import NAMED
from apical.report._claims_of_rules import RULES_OF_CLAIMS, claims_of
from apical.report._findings import Entry, findings
from apical.report._needs import needs_of
from apical.report._palette import COLOURS
from apical.report._placement import (
    COORDINATING,
    EXCLUDING,
    HARMLESS,
    IMPOSSIBLE,
    OPEN,
    PLACES,
    PLAUSIBLE,
    POSSIBLE,
    UNPLACED,
    Placed,
    placed,
)
from apical.report._plot import small_plot
from apical.report._results import RuleResult, TaskResults
from apical.report._rule_texts import RuleText, rule_texts
from apical.rules.tools import NEEDS

_DASH = "–"


class Card(NamedTuple):
    """Everything the page says of one rule.

    Attributes:
        id: of its element.
        text: family, first line, and why it is not compared.
        result: on the task, or None.
        needs: "yes", "no" or "not decided" by need.
        declared: the needs that the rule declares, where none was measured; or None.
        placed: where the needs place it; None for the control.
        claims: about it, with their kept verdicts.
        plot: the small plot, or None without a result.
        cells: its cells in the table, by column.
    """

    id: str
    text: RuleText
    result: RuleResult | None
    needs: dict[str, str]
    declared: tuple[str, ...] | None
    placed: Placed | None
    claims: dict[str, Kept]
    plot: Markup | None
    cells: list[Cell]

    @property
    def missing(self) -> str:
        """Why it has no result on this task."""
        if self.result is not None:
            return self.result.status
        return self.text.why_not or "not part of this comparison"

    @property
    def place(self) -> str:
        """The place in a word, or "" for the control."""
        return self.placed.place if self.placed else ""


COLUMNS = (
    *("highest place", "alignment, start → end", "{}, %", "− backprop, points"),
    *("− control, points", "time", "memory", "depth"),
)


def page(results: TaskResults) -> str:
    """The page as HTML.

    Args:
        results: of one task: `kept_results()`, or `results_of(comparison)`.

    Returns:
        The whole document.

    Example:
        >>> from apical.report import kept_results
        >>> page(kept_results())[:15]
        '<!DOCTYPE html>'
    """
    environment = jinja_environment(
        "apical.report", counted=counted, with_code=_with_code
    )
    return environment.get_template("page.html.jinja").render(**_content(results))


def _with_code(text: str) -> Markup:
    """A line of a docstring, with what stands between backticks as code."""
    parts = re.split(r"`([^`]+)`", text)
    marked = [
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part)
        for i, part in enumerate(parts)
    ]
    return Markup("").join(marked)


def _content(results: TaskResults) -> dict[str, Any]:
    cards = [_card(text, results) for text in rule_texts(results.rules)]
    entries = [Entry(c.text.name, c.result, c.needs, c.place) for c in cards]
    placeable = [card for card in cards if card.placed]
    return {
        "results": results,
        "version": __version__,
        "palette": {**NAMED, **COLOURS},
        "needs": NEEDS,
        "columns": [column.format(results.score) for column in COLUMNS],
        "cards": cards,
        "families": list(dict.fromkeys(card.text.family for card in cards)),
        "found": findings(entries, (POSSIBLE, PLAUSIBLE)),
        "band": 100 * BAND,
        "places": {
            place: [card for card in placeable if card.place == place]
            for place in PLACES
        },
        "names": {
            "plausible": PLAUSIBLE,
            "possible": POSSIBLE,
            "impossible": IMPOSSIBLE,
            "unplaced": UNPLACED,
        },
        "excluding": EXCLUDING,
        "coordinating": COORDINATING,
        "harmless": HARMLESS,
        "other_claims": _other_claims(),
        "verdicts": _verdicts(),
        "earlier": any(each.earlier for each in results.rules.values()),
    }


def _card(text: RuleText, results: TaskResults) -> Card:
    name, result = text.name, results.rules.get(text.name)
    needs = dict(needs_of(name))
    declared = result.declared if result and result.declared else text.declared
    mine = None if name == CONTROL else placed(needs)
    ran = result is not None and result.status in ("ok", "unfinished")
    return Card(
        id="rule-" + re.sub(r"\W+", "-", name).strip("-"),
        text=text,
        result=result,
        needs=needs,
        declared=declared if set(needs.values()) == {OPEN} else None,
        placed=mine,
        claims=claims_of(name),
        plot=small_plot(name, result) if result and ran else None,
        cells=_cells(name, mine, result if ran else None),
    )


# ---- The table


def _cells(name: str, place: Placed | None, result: RuleResult | None) -> list[Cell]:
    first = Cell(place.place, float(PLACES.index(place.place))) if place else Cell("")
    if result is None:
        return [first, *[Cell(_DASH, math.nan)] * (len(COLUMNS) - 1)]
    start, end = result.alignment
    return [
        first,
        Cell(f"{cosine(start)} → {cosine(end)}", end),
        Cell(percent(result.accuracy), result.accuracy.mean),
        _difference(name, result.difference),
        _above_control(name, result.above_control),
        *(
            Cell(ratio(value), value)
            for value in (result.time, result.memory, result.depth)
        ),
    ]


def _difference(name: str, value: Interval) -> Cell:
    if name in BASELINES or math.isnan(value.mean):
        return Cell(_DASH, math.nan)
    word = standing(value)
    return Cell(
        points(value) if word == "single" else f"{points(value)} {word}", value.mean
    )


def _above_control(name: str, value: Interval) -> Cell:
    if name == CONTROL or math.isnan(value.mean):
        return Cell(_DASH, math.nan)
    return Cell(points(value), value.mean)


# ---- Claims


def _other_claims() -> dict[str, Kept]:
    """The claims that are about none of the named rules."""
    return {
        name: claim
        for name, claim in kept_claims().items()
        if not RULES_OF_CLAIMS.get(name)
    }


def _verdicts() -> dict[str, int]:
    """How many claims have each verdict."""
    words = [claim.verdict for claim in kept_claims().values()]
    return {word: words.count(word) for word in dict.fromkeys(sorted(words))}
