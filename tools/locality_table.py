"""Measure the needs of every rule that has a name, and keep them.

    python tools/locality_table.py                  # all, about ten minutes
    python tools/locality_table.py pepita eprop     # some of them, the others as kept

Writes src/apical/measure/_locality/needs_table.json, which `apical.measure.needs_table`
reads, and the table of docs/locality.md. Networks and data are those of
tools/locality_networks.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax
from generated_section import replaced
from locality_networks import WHY, measured, names, network_of, rule_of

from apical.measure._locality._needs_table import FILE
from apical.rules.tools import NEEDS

PAGE = Path(__file__).parents[1] / "docs" / "locality.md"
BEGIN, END = (
    "<!-- made by tools/locality_table.py -->",
    "<!-- end of what it makes -->",
)


def entry(name: str) -> dict[str, Any]:
    """What is kept of one rule."""
    found = measured(name).measured
    words = {None: "not decided", True: "yes", False: "no"}
    return {
        "needs": {need: words[found.get(need)] for need in NEEDS},
        "declared": [need for need in NEEDS if need in rule_of(name).needs],
        "network": network_of(name).about,
        "why": WHY.get(name, ""),
    }


def table() -> str:
    """A row for each rule: what was measured, excluded and declared."""
    kept: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    legend = [f"{i}. {need}" for i, need in enumerate(NEEDS, 1)]
    numbers = " | ".join(str(i) for i in range(1, len(NEEDS) + 1))
    networks = list(dict.fromkeys(each["network"] for each in kept.values()))
    letters = dict(zip(networks, "ABCDEFGHI", strict=False))
    rows = [
        f"| `{name}` | {' | '.join(_marks(each))} | {letters[each['network']]} |"
        for name, each in kept.items()
    ]
    return "\n".join(
        [
            *legend,
            "",
            "● measured; - excluded; ○ declared, not decided; blank: not decided, and "
            "not declared.",
            "",
            f"| rule | {numbers} | network |",
            "|---|" + ":-:|" * (len(NEEDS) + 1),
            *rows,
            "",
            *(f"* {letter}: {about}" for about, letter in letters.items()),
        ]
    )


def _marks(each: Any) -> list[str]:
    words = {"yes": "●", "no": "-"}
    return [
        words.get(found, "○" if need in each["declared"] else "")
        for need, found in each["needs"].items()
    ]


def with_table(page: str) -> str:
    """The page with this table in its generated section."""
    return replaced(page, BEGIN, table(), END)


def main() -> None:
    """Measure the given rules, or all."""
    # Small programs that run a few times: compile them quickly.
    jax.config.update("jax_disable_most_optimizations", True)
    kept = json.loads(FILE.read_text("utf-8")) if sys.argv[1:] else {}
    for name in sys.argv[1:] or names():
        print(name, flush=True)
        kept[name] = entry(name)
    ordered = {name: kept[name] for name in names() if name in kept}
    FILE.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
