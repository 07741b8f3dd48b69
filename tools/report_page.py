"""Write the page of all rules, docs/report.html, and the results that it is made from.

    apical compare --rules all --model mlp --epochs 1 --seeds 1 --out costs
    python tools/report_page.py costs    # memory and depth from that comparison
    python tools/report_page.py          # those that are stored

Accuracy, alignment and time are those of `results/every-rule.json`. Memory and
sequential depth are counted by the compiler and on the program, so that one epoch
gives them; they are stored in `results/rule-costs.json`. From both files comes
`src/apical/report/kept_results.json`, which an installed package has.
`tests/report/test_kept_results.py` compares all of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from every_rule_tables import TUNED

from apical.lab import Comparison
from apical.report import kept_results, page
from apical.report._results import FILE

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "every-rule.json"
COSTS = ROOT / "results" / "rule-costs.json"
PAGE = ROOT / "docs" / "report.html"
TASK = (
    "1,797 handwritten digits of 8 x 8 pixels, mlp, 5 seeds, 8 epochs of Adam, each "
    "rule at the best of 16 trials"
)
NOTE = "Memory and depth are those of each rule at its default hyper-parameters."
COMMAND = "apical compare --rules all --model mlp --sweep 16"


def costs(folder: str) -> str:
    """Memory and depth over backpropagation's, from a comparison: the file."""
    found = {
        line["rule"]: {
            "memory": round(line["memory_bytes_ratio"], 3),
            "depth": round(line["depth_ratio"], 3),
        }
        for line in Comparison.read(folder).costs
        if line["depth_ratio"] is not None
    }
    return json.dumps(found, indent=1) + "\n"


def kept() -> str:
    """The results that the package has: the file."""
    lines = json.loads(RESULTS.read_text("utf-8"))[TUNED]
    counted = json.loads(COSTS.read_text("utf-8"))
    rules = {name: _line(line, counted.get(name, {})) for name, line in lines.items()}
    found = {"task": TASK, "command": COMMAND, "score": "accuracy"}
    found |= {"note": NOTE, "rules": rules}
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _line(line: dict[str, Any], counted: dict[str, float]) -> dict[str, Any]:
    return {
        "descends": line["descends"],
        "accuracy": line["accuracy"],
        "difference": line["minus backprop"],
        "above_control": line["above the control"],
        "alignment": line["alignment"],
        "time": line["time"],
        "memory": counted.get("memory"),
        "depth": counted.get("depth"),
        "earlier": "earlier" in line,
    }


def main() -> None:
    """Store the costs of a given comparison, and write both files."""
    for folder in sys.argv[1:]:
        COSTS.write_text(costs(folder), "utf-8")
    FILE.write_text(kept(), "utf-8")
    kept_results.cache_clear()
    PAGE.write_text(page(kept_results()), "utf-8")


if __name__ == "__main__":
    main()
