"""Measure the needs of every rule that has a name, and keep them.

    python tools/locality_table.py                  # all, about ten minutes
    python tools/locality_table.py pepita eprop     # some of them, the others as kept

Writes src/apical/measure/_locality/needs_table.json, which `apical.measure.needs_table`
reads. Networks and data are those of tools/locality_networks.py.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
from locality_networks import WHY, measured, names, network_of, rule_of

from apical.measure._locality._needs_table import FILE
from apical.rules.tools import NEEDS


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


if __name__ == "__main__":
    main()
