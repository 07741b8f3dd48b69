"""Write the README's table of all rules from a comparison of them.

    apical compare --rules all --model mlp --sweep 16 --out all
    apical compare --rules R --model mlp --sweep 16 --epochs 40 --out longer
    apical compare --rules R --model mlp-tanh --sweep 16 --epochs 40 --out smooth
    python tools/every_rule.py all longer smooth

What is said of them is kept in `results/every-rule.json`, for each model and number of
epochs; a later folder, of some rules alone, takes the place of these rules' lines.
Without a folder the table is written anew from what is kept. `tests/test_docs.py`
compares.
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
TABLE = "mlp, 8 epochs"
LONGER = ("mlp, 40 epochs", "mlp-tanh, 40 epochs")  # of what fails there
FAILING = (
    "Not above the control by three standard errors; what they have after longer "
    "training, with 16 trials again (bold: above the control); and why:"
)
ENOUGH = 3.0  # standard errors above the control
# Why a rule is not above the control; the README says it.
_LARGE = "its signal never becomes small, and drives rectifiers far out"
_NOISE = "variance: one number for 26 thousand parameters, in 180 steps"
_NOISE_AT_NODES = "variance: one number for 266 activities of an example, in 180 steps"
_INVERSES = "rectifiers, whose inverse is silent below 0: its papers take smooth units"
REASONS: dict[str, str] = {
    "direct-feedback-alignment-sign": _LARGE,
    "direct-random-target-projection": _LARGE,
    "coupled-learning": (
        "some seeds come to nothing at the numbers that its trials chose"
    ),
    "target-propagation": "it takes the error of its inverses for a target",
    "difference-reconstruction": _INVERSES,
    "fixed-weight-target-propagation": _INVERSES,
    "synthetic-gradients": "slow: critics that are not told the label have it to guess",
    "local-losses": "slow: above it by 1.0 points, which is 2.9 standard errors",
    "forward-forward": "slow at first, one layer after the other",
    "pepita": "slow: its paper trains for 100 epochs",
    "weight-perturbation": _NOISE,
    "node-perturbation": _NOISE_AT_NODES,
    "forward-gradient": _NOISE,
    "forward-gradient-activities": _NOISE_AT_NODES,
    "evolution-strategy": _NOISE,
}


def kept(folder: str) -> tuple[str, dict[str, Any]]:
    """The model and epochs of a comparison, and what the table is made of."""
    found = Comparison.read(folder)
    (model,) = {row.model for row in found.rows}
    ends = {
        row.rule: at_the_end([r for r in found.records if r["rule"] == row.rule])
        for row in found.rows
    }
    lines = {row.rule: _line(row, ends[row.rule], ends[CONTROL]) for row in found.rows}
    return f"{model}, {found.settings['epochs']} epochs", lines


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


def table(every: dict[str, Any]) -> str:
    """A row for each rule, and what fails and why."""
    lines = every[TABLE]
    columns = ("rule", "accuracy %", "above the control", "alignment", "time")
    head = f"| {' | '.join((*columns, 'FLOPs', 'needs'))} |"
    rows = [_row(rule, line) for rule, line in lines.items()]
    legend = "; ".join(f"{i} {need}" for i, need in enumerate(NEEDS, 1))
    failing = [r for r, line in lines.items() if r != CONTROL and fails(line)]
    parts = [f"Needs: {legend}.", "", head, "|---|--:|--:|--:|--:|--:|---|", *rows]
    if failing:
        told = [f"| not above it | {' | '.join(LONGER)} | why |", "|---|--:|--:|---|"]
        rows = [_longer(rule, every) for rule in (*failing, CONTROL)]
        parts += ["", FAILING, "", *told, *rows]
    return "\n".join(parts)


def _longer(rule: str, every: dict[str, Any]) -> str:
    """What a rule has after longer training, in bold where that is enough."""
    cells = [f"`{rule}`"]
    for name in LONGER:
        line = every.get(name, {}).get(rule)
        shown = "" if line is None else _accuracy(line)
        enough = line is not None and rule != CONTROL and not fails(line)
        cells.append(f"**{shown}**" if enough else shown)
    why = "" if rule == CONTROL else REASONS.get(rule, "not known")
    return f"| {' | '.join([*cells, why])} |"


def _accuracy(line: Any) -> str:
    mean, half = line["accuracy"]
    return "diverged" if mean is None else f"{mean:.1f} ± {half or 0:.1f}"


def _row(rule: str, line: Any) -> str:
    apart = line["above the control"]
    start, end = (_number(value) for value in line["alignment"])
    cells = [
        f"`{rule}`",
        _accuracy(line),
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
    every = json.loads(KEPT.read_text("utf-8"))
    for folder in sys.argv[1:]:
        name, found = kept(folder)
        lines = every.get(name, {}) | found
        every[name] = {rule: lines[rule] for rule in RULES if rule in lines}
    KEPT.write_text(json.dumps(every, indent=1) + "\n", "utf-8")
    README.write_text(readme(), "utf-8")


if __name__ == "__main__":
    main()
