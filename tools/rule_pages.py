"""Write the tables and pictures of docs/rules from kept results; nothing is trained.

    python tools/rule_pages.py

The tables stand between two comments of each page. They are made of
`results/every-rule.json` and `results/rule-costs.json`, the table of measured needs
that is in the package, the verdicts of claims, docs/choose-a-rule.md (depths of other
rules) and docs/rules-and-models.md.
`tests/docs/test_rule_pages.py` compares them with the pages.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from every_rule_tables import (
    LONGER,
    TUNED,
    above_cell,
    accuracy_cell,
    arrow_cell,
    to_backprop_cell,
)
from generated_section import replaced
from rule_page_sections import FAMILIES, Section, Setting

from apical.claims import kept_claims
from apical.lab._registry import BASELINE, CONTROL, NOT_COMPARED, SQUARED
from apical.measure import needs_table

ROOT = Path(__file__).parents[1]
PAGES, PICTURES = ROOT / "docs" / "rules", ROOT / "docs" / "images" / "rules"
BASELINES = {"cross-entropy": BASELINE, "squared-error": SQUARED}
COUNTED = "sequential depth"  # of rules without a row in the comparison
_LONGER = {run: f"accuracy %: {run}" for run in LONGER}
ROWS = (
    *("compared", "accuracy %", "backprop of the same loss"),
    *("untrained hidden layers", "− backprop", "above the control"),
    *(*_LONGER.values(), "alignment", "time, FLOPs", "memory, sequential depth"),
    COUNTED,
    *("needs, measured", "needs, excluded", "declared, not decided"),
    *("declared otherwise", "measured on", "needs, declared (not measured)"),
    "models",
)
OUTCOMES = ("exact", "works", "refuses", "undefined")


def marks(section: str) -> tuple[str, str]:
    """The comments before and after a table."""
    return (
        f"<!-- made by tools/rule_pages.py: {section} -->",
        f"<!-- end of the table: {section} -->",
    )


def page(family: str) -> str:
    """A page with its tables as they should be."""
    text = (PAGES / f"{family}.md").read_text("utf-8")
    for name, section in FAMILIES[family].items():
        begin, end = marks(name)
        text = replaced(text, begin, table(section), end)
    return text


def table(section: Section) -> str:
    """A column for each setting, a row for each measure, and the claims below."""
    columns = [column(name, setting) for name, setting in section.settings.items()]
    names = [name for name in ROWS if any(name in each for each in columns)]
    head = ["", *(f"`{name}`" for name in section.settings)]
    rows = [[name, *(each.get(name, "–") for each in columns)] for name in names]
    lines = [head, ["---"] * len(head), *rows]
    parts = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([*parts, "", claims(section.claims)])


def column(name: str, setting: Setting) -> dict[str, str]:
    """The cells of one setting by the names of their rows."""
    return {
        **results(name),
        **needs(name),
        **({} if name in costs() else _only(COUNTED, depths().get(setting.counted))),
        **_only("models", models().get(setting.tried)),
    }


def _only(name: str, cell: str | None) -> dict[str, str]:
    return {} if cell is None else {name: cell}


# ---- Accuracy, alignment and costs


@cache
def every() -> Any:
    """The figures of docs/every-rule.md."""
    return json.loads((ROOT / "results" / "every-rule.json").read_text("utf-8"))


def results(name: str) -> dict[str, str]:
    """The cells of a rule from the comparison of all rules."""
    lines = every()[TUNED]
    if name not in lines:
        compared = NOT_COMPARED.get(name)
        return {
            "compared": "on sequences alone: for models with a loop"
            if compared is None
            else f"not by name: {compared.why}"
        }
    line, control = lines[name], lines[CONTROL]
    base = lines[BASELINES[line["descends"]]]
    longer = {
        _LONGER[run]: accuracy_cell(every()[run][name])
        for run in LONGER
        if name in every().get(run, {})
    }
    return {
        "accuracy %": accuracy_cell(line),
        "backprop of the same loss": accuracy_cell(base),
        "untrained hidden layers": accuracy_cell(control),
        "− backprop": to_backprop_cell(name, line),
        "above the control": above_cell(name, line, control),
        **longer,
        "alignment": arrow_cell(line["alignment"]),
        "time, FLOPs": f"{line['time']:.1f}, {line['FLOPs']:.1f}",
        "memory, sequential depth": "{memory:.1f}, {depth:.1f}".format(**costs()[name]),
    }


@cache
def costs() -> Any:
    """Memory and depth of the same comparison."""
    return json.loads((ROOT / "results" / "rule-costs.json").read_text("utf-8"))


@cache
def depths() -> dict[str, str]:
    """The counted depths of docs/choose-a-rule.md, by the call that makes the rule."""
    text = (ROOT / "docs" / "choose-a-rule.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+\(.*\))` \|.*\| (\S+) \|$", text, re.MULTILINE)
    return {call: depth for call, depth in rows if depth != "?"}


# ---- Needs


def needs(name: str) -> dict[str, str]:
    """What a rule needs as measured, and what it declares that was not decided."""
    found = needs_table()[name]
    if not found.network:
        return {"needs, declared (not measured)": _list(found.declared)}
    open_ = [need for need in found.declared if found.needs[need] == "not decided"]
    cells = {
        "needs, measured": _list(_where(found.needs, "yes")),
        "needs, excluded": _list(_where(found.needs, "no")),
        "declared, not decided": _list(open_),
        "measured on": found.network,
    }
    if found.mismatches:
        cells["declared otherwise"] = _list(found.mismatches)
    return cells


def _where(found: dict[str, str], answer: str) -> list[str]:
    return [need for need, each in found.items() if each == answer]


def _list(words: Any) -> str:
    return ", ".join(words) or "none"


# ---- Models and claims


@cache
def models() -> dict[str, str]:
    """What each column of docs/rules-and-models.md says, counted."""
    text = (ROOT / "docs" / "rules-and-models.md").read_text("utf-8")
    counted = {}
    for part in text.split("\n### "):
        calls = re.findall(r"^- \*\*[A-Z]\*\* `(.*)`$", part, re.MULTILINE)
        rows = re.findall(r"^\| \w+ ((?:\| [^|]+ )+)\|$", part, re.MULTILINE)
        cells = [row.split(" |") for row in rows]
        cells = [[cell.strip("| ") for cell in row] for row in cells]
        for i, call in enumerate(calls):
            found = Counter(
                row[i].split()[0] for row in cells if len(row) >= len(calls)
            )
            said = [f"{word} {found[word]}" for word in OUTCOMES if found[word]]
            counted[call] = ", ".join(said)
    return counted


def claims(names: tuple[str, ...]) -> str:
    """The verdicts of claims, linked to their sections."""
    if not names:
        return "Claims about it: none yet."
    kept = kept_claims()
    said = (f"[{name}](../claims.md#{name}): {kept[name].verdict}" for name in names)
    return f"Claims about it: {'; '.join(said)}."


def main() -> None:
    """Write the tables and the pictures."""
    from rule_page_pictures import picture

    for family in FAMILIES:
        path = PAGES / f"{family}.md"
        if path.exists():
            path.write_text(page(family), "utf-8")
        PICTURES.mkdir(parents=True, exist_ok=True)
        (PICTURES / f"{family}.svg").write_text(picture(family), "utf-8")


if __name__ == "__main__":
    main()
