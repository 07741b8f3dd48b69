"""Write the README's table of all rules from a comparison of them.

    apical compare --rules all --model mlp --sweep 16 --out all
    python tools/every_rule.py all

The comparison's lines that the table is made of are kept in `results/every-rule.json`;
a later folder, of some rules alone, takes the place of these rules' lines. Without a
folder the table is written anew from what is kept. `tests/test_docs.py` compares.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from between_marks import replaced

from apical.lab import Comparison
from apical.lab._registry import CONTROL, RULES
from apical.lab._summary import at_the_end
from apical.testing._declarations import NEEDS

ROOT = Path(__file__).parents[1]
README, KEPT = ROOT / "README.md", ROOT / "results" / "every-rule.json"
BEGIN, END = "<!-- made by tools/every_rule.py -->", "<!-- end of every rule -->"
ENOUGH = 3.0  # standard errors above the control
# Why a rule is not above the control; the README says it.
_LARGE = "its signal never becomes small, and drives rectifiers far out"
_NOISE = "variance: one number for 26 thousand parameters, in 180 steps"
_NOISE_AT_NODES = "variance: one number for 266 activities of an example, in 180 steps"
_INVERSES = "8 epochs, and rectifiers: its papers train for longer, with smooth units"
REASONS: dict[str, str] = {
    "direct-feedback-alignment-sign": _LARGE,
    "direct-random-target-projection": _LARGE,
    "coding-with-learned-precision": (
        "seeds differ widely, and so they do at its defaults (69.2 ± 13.1); why has "
        "not been found"
    ),
    "coupled-learning": (
        "some seeds come to nothing at the numbers that its trials chose; at its "
        "defaults, not tuned, it has 98.6 %"
    ),
    "activation-relaxation": (
        "at the rate that its trials chose it does not come to rest; at 1, its "
        "default, it is backpropagation (97.2 %, not tuned)"
    ),
    "target-propagation": "it takes the error of its inverses for a target",
    "difference-reconstruction": _INVERSES,
    "fixed-weight-target-propagation": _INVERSES,
    "synthetic-gradients": "critics that are not told the label are late in 180 steps",
    "local-losses": "above it by 1.0 points, which is 2.9 standard errors",
    "forward-forward": "slow at first, one layer after the other",
    "pepita": "8 epochs, where its paper has 100",
    "weight-perturbation": _NOISE,
    "node-perturbation": _NOISE_AT_NODES,
    "forward-gradient": _NOISE,
    "forward-gradient-activities": _NOISE_AT_NODES,
    "evolution-strategy": _NOISE,
}


def kept(folder: str) -> dict[str, Any]:
    """What the table is made of."""
    found = Comparison.read(folder)
    ends = {
        row.rule: at_the_end([r for r in found.records if r["rule"] == row.rule])
        for row in found.rows
    }
    return {row.rule: _line(row, ends[row.rule], ends[CONTROL]) for row in found.rows}


def _line(row: Any, mine: dict[int, float], control: dict[int, float]) -> Any:
    apart = [100 * (mine[seed] - control[seed]) for seed in mine if seed in control]
    return {
        "accuracy": [_rounded(100 * part) for part in row.accuracy],
        "above the control": [_rounded(np.mean(apart)), _rounded(_error(apart))]
        if apart
        else None,
        "alignment": [
            _rounded(each.mean) for each in (row.alignment_start, row.alignment_end)
        ],
        "time": _rounded(row.time_ratio),
        "FLOPs": _rounded(row.flops_ratio),
        "step size": row.learning_rate,
        "numbers": row.hyper_parameters,
    }


def _error(apart: list[float]) -> float:
    return float(np.std(apart, ddof=1) / math.sqrt(len(apart)))


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 2)


def fails(line: Any) -> bool:
    """Whether it is not above the control by more than three standard errors."""
    if line["above the control"] is None:
        return True
    mean, error = line["above the control"]
    return not mean > ENOUGH * error


def table(lines: dict[str, Any]) -> str:
    """A row for each rule, and what fails and why."""
    columns = ("rule", "accuracy %", "above the control", "alignment", "time")
    head = f"| {' | '.join((*columns, 'FLOPs', 'needs'))} |"
    rows = [_row(rule, line) for rule, line in lines.items()]
    legend = "; ".join(f"{i} {need}" for i, need in enumerate(NEEDS, 1))
    failing = [r for r, line in lines.items() if r != CONTROL and fails(line)]
    told = [f"- `{rule}`: {REASONS.get(rule, 'not known')}" for rule in failing]
    parts = [f"Needs: {legend}.", "", head, "|---|--:|--:|--:|--:|--:|---|", *rows]
    if told:
        parts += ["", "Not above the control by three standard errors:", "", *told]
    return "\n".join(parts)


def _row(rule: str, line: Any) -> str:
    mean, half = line["accuracy"]
    apart = line["above the control"]
    start, end = (_number(value) for value in line["alignment"])
    cells = [
        f"`{rule}`",
        "diverged" if mean is None else f"{mean:.1f} ± {half or 0:.1f}",
        "" if rule == CONTROL else "fails" if fails(line) else f"{apart[0]:+.1f}",
        f"{start} → {end}",
        _number(line["time"], 1),
        _number(line["FLOPs"], 1),
        " ".join(map(str, sorted(1 + NEEDS.index(n) for n in RULES[rule].needs))),
    ]
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None, places: int = 2) -> str:
    return "–" if value is None else f"{value:.{places}f}"


def readme() -> str:
    """The README with the table of what was kept."""
    made = table(json.loads(KEPT.read_text("utf-8")))
    return replaced(README.read_text("utf-8"), BEGIN, made, END)


def main() -> None:
    """Keep the comparisons that are named, and write the table."""
    lines = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    for folder in sys.argv[1:]:
        lines |= kept(folder)
    lines = {rule: lines[rule] for rule in RULES if rule in lines}
    KEPT.write_text(json.dumps(lines, indent=1) + "\n", "utf-8")
    README.write_text(readme(), "utf-8")


if __name__ == "__main__":
    main()
