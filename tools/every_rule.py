"""Write the README's tables of rules from comparisons of them.

    apical compare --out demo
    apical compare --rules all --model mlp --sweep 16 --out all
    apical compare --rules R --model mlp --sweep 16 --epochs 40 --out longer
    apical compare --rules R --model mlp-tanh --sweep 16 --epochs 40 --out smooth
    python tools/every_rule.py demo all longer smooth

What is said of them is kept in `results/every-rule.json`, for each model, number of
epochs and tuning; a later folder, of some rules alone, takes the place of these rules'
lines. Without a folder the tables are written anew from what is kept.
`tests/docs/test_site.py` compares.
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
from apical.lab._registry import COMPARED, CONTROL, RULES
from apical.lab.report._summary import BASELINES, Interval, Row, shown_above, standing
from apical.testing._check import NEEDS

ROOT = Path(__file__).parents[1]
README, KEPT = ROOT / "README.md", ROOT / "results" / "every-rule.json"
DEMO_MARKS = "<!-- made by tools/every_rule.py demo -->", "<!-- end of the demo -->"
MARKS = "<!-- made by tools/every_rule.py -->", "<!-- end of every rule -->"
TABLE = "mlp, 8 epochs"
DEMO = ("mlp, 8 epochs, not tuned", "cnn, 8 epochs, not tuned")
LONGER = ("mlp, 40 epochs", "mlp-tanh, 40 epochs")  # of what is not above the control
LOSSES = {"cross-entropy": "CE", "squared-error": "SE"}
FAILING = (
    "Not shown to be above the control; what they have after longer training, with 16 "
    "trials again (bold: shown to be above the control there), and why:"
)
EARLIER = (
    "Slanted: chosen among trials of an earlier comparison, which were not scored on "
    "the test part, so that the interval of the accuracy is over seeds alone. With the "
    "control it is compared as a whole, not seed by seed."
)
# Why a rule is not shown to be above the control, where more than noise is known of it.
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
    "forward-forward": "slow at first, one layer after the other",
    "pepita": "slow: its paper trains for 100 epochs",
    "weight-perturbation": _NOISE,
    "node-perturbation": _NOISE_AT_NODES,
    "forward-gradient": _NOISE,
    "forward-gradient-activities": _NOISE_AT_NODES,
    "evolution-strategy": _NOISE,
}


def kept(folder: str) -> dict[str, dict[str, Any]]:
    """What the tables are made of, of a comparison: by model and epochs."""
    found = Comparison.read(folder)
    tuning = "" if found.settings["sweep"] else ", not tuned"
    lines: dict[str, dict[str, Any]] = {}
    for row in found.rows:
        name = f"{row.model}, {found.settings['epochs']} epochs{tuning}"
        lines.setdefault(name, {})[row.rule] = _line(row, found)
    return lines


def _line(row: Row, found: Comparison) -> Any:
    return {
        "descends": row.descends,
        "accuracy": _points(row.accuracy),
        "minus backprop": _points(row.difference),
        "above the control": _points(row.above_control),
        "alignment": [
            _rounded(each.mean) for each in (row.alignment_start, row.alignment_end)
        ],
        "by layer": _by_layer(row, found),
        "time": _rounded(row.time_ratio),
        "FLOPs": _rounded(row.flops_ratio),
        "step size": row.learning_rate,
        "numbers": row.hyper_parameters,
        **({"earlier": True} if _has_no_trials(row, found) else {}),
    }


def _has_no_trials(row: Row, found: Comparison) -> bool:
    """Whether what was chosen among earlier trials was run again without them."""
    tried = {(line["model"], line["rule"]) for line in found.trials}
    return bool(found.settings["sweep"]) and (row.model, row.rule) not in tried


def _by_layer(row: Row, found: Comparison) -> list[float | None]:
    """The alignment of each hidden layer after the last epoch, from the input up."""
    lines = [
        line
        for line in found.layers
        if (line["model"], line["rule"]) == (row.model, row.rule) and line["hidden"]
    ]
    last = [line for line in lines if line["epoch"] == line["epochs"]]
    layers: dict[str, list[float]] = {}
    for line in sorted(last, key=lambda line: line["place"]):
        known = layers.setdefault(line["layer"], [])
        known += [] if line["layer_alignment"] is None else [line["layer_alignment"]]
    return [_rounded(np.mean(each)) if each else None for each in layers.values()]


def _points(value: Interval) -> list[float | None]:
    return [_rounded(100 * part) for part in value]


def _rounded(value: Any) -> float | None:
    return None if math.isnan(value) else round(float(value), 3)


def above(line: Any, control: Any) -> bool:
    """Whether a line is shown to be above that of the control."""
    apart = _to_control(line, control)
    return None not in apart and shown_above(Interval(*apart))


def _to_control(line: Any, control: Any) -> Any:
    """The difference to the control; of an earlier line that of the two intervals."""
    if "earlier" not in line or line["accuracy"][0] is None:
        return line.get("above the control", [None, None])
    (mean, half), (least, more) = line["accuracy"], control["accuracy"]
    return [mean - least, math.hypot(half, more)]


def failing(lines: dict[str, Any]) -> list[str]:
    """The rules that are not shown to be above the control."""
    rest = [rule for rule in lines if rule != CONTROL]
    return [rule for rule in rest if not above(lines[rule], lines[CONTROL])]


def table(every: dict[str, Any]) -> str:
    """A row for each rule, and what is not shown to be above the control, and why."""
    lines = every[TABLE]
    columns = ("rule", "loss", "accuracy %", "− backprop", "above the control")
    head = " | ".join((*columns, "alignment", "by layer", "time", "FLOPs", "needs"))
    rows = [_row(rule, line, lines[CONTROL]) for rule, line in lines.items()]
    legend = "; ".join(f"{i} {need}" for i, need in enumerate(NEEDS, 1))
    parts = [
        f"Needs: {legend}.",
        "",
        f"| {head} |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    parts += rows
    if found := failing(lines):
        told = [f"| not shown to be above it | {' | '.join(LONGER)} | why |"]
        told += ["|---|--:|--:|---|"]
        told += [_longer(rule, every) for rule in (*found, *BASELINES, CONTROL)]
        parts += ["", FAILING, "", *told]
    shown = [line for name in (TABLE, *LONGER) for line in every.get(name, {}).values()]
    if any("earlier" in line for line in shown):
        parts += ["", EARLIER]
    return "\n".join(parts)


def _longer(rule: str, every: dict[str, Any]) -> str:
    """What a rule has after longer training, in bold where that is enough."""
    cells = [f"`{rule}`"]
    for name in LONGER:
        line = every.get(name, {}).get(rule)
        shown = "" if line is None else _slanted(line)
        enough = line is not None and above(line, every[name][CONTROL])
        cells.append(f"**{shown}**" if enough and rule not in BASELINES else shown)
    why = "" if rule in (*BASELINES, CONTROL) else _why(rule, every[TABLE])
    return f"| {' | '.join([*cells, why])} |"


def _why(rule: str, lines: dict[str, Any]) -> str:
    """The reason, or that the interval is too wide to tell."""
    mean, half = _to_control(lines[rule], lines[CONTROL])
    return REASONS.get(rule, f"{mean:+.1f} ± {half:.1f}: the interval contains 0")


def _slanted(line: Any) -> str:
    return f"*{_accuracy(line)}*" if "earlier" in line else _accuracy(line)


def _accuracy(line: Any) -> str:
    mean, half = line["accuracy"]
    return "diverged" if mean is None else f"{mean:.1f} ± {half or 0:.1f}"


def _row(rule: str, line: Any, control: Any) -> str:
    layers = " ".join(_number(value) for value in line["by layer"])
    cells = [
        f"`{rule}`",
        LOSSES[line["descends"]],
        _slanted(line),
        "" if rule in BASELINES else _difference(line["minus backprop"]),
        _above(rule, line, control),
        _arrow(line["alignment"]),
        layers,
        _number(line["time"], 1),
        _number(line["FLOPs"], 1),
        " ".join(map(str, sorted(1 + NEEDS.index(n) for n in RULES[rule].needs))),
    ]
    return "| " + " | ".join(cells) + " |"


def _above(rule: str, line: Any, control: Any) -> str:
    if rule == CONTROL:
        return ""
    if not above(line, control):
        return "not shown"
    mean, half = _to_control(line, control)
    return f"{mean:+.1f} ± {half:.1f}"


def _difference(points: list[float | None]) -> str:
    """Points, and whether that is equal, above, below or open."""
    mean, half = points
    if mean is None or half is None:
        return "–"
    stands = standing(Interval(mean / 100, half / 100))
    return f"{mean:+.1f} ± {half:.1f} {stands}".replace("-", "−")


def _arrow(ends: list[float | None]) -> str:
    return " → ".join(_number(end) for end in ends)


def _number(value: float | None, places: int = 2) -> str:
    if value is None:
        return "–"
    return f"{value:z.{places}f}".replace("-", "−")


def demo(every: dict[str, Any]) -> str:
    """The rules that are compared by default, on both models, and tuned on one."""
    columns = ["rule"]
    for name in DEMO:
        model = name.split(",")[0].upper()
        columns += [f"{model}: accuracy %", "− backprop", "alignment", "time"]
    head = f"| {' | '.join([*columns, 'MLP, each tuned', '− backprop'])} |"
    return "\n".join([head, "|---" * (len(columns) + 2) + "|", *_demo_rows(every)])


def _demo_rows(every: dict[str, Any]) -> list[str]:
    rows = []
    for rule in COMPARED:
        cells = [f"`{rule}`"]
        for line in (every[name][rule] for name in DEMO):
            cells += [_accuracy(line), _apart(rule, line)]
            cells += [_arrow(line["alignment"]), _number(line["time"], 1)]
        tuned = every[TABLE][rule]
        rows.append(
            f"| {' | '.join([*cells, _accuracy(tuned), _apart(rule, tuned)])} |"
        )
    return rows


def _apart(rule: str, line: Any) -> str:
    return "" if rule in BASELINES else _difference(line["minus backprop"])


def readme() -> str:
    """The README with the tables of what was kept."""
    every = json.loads(KEPT.read_text("utf-8"))
    page = README.read_text("utf-8")
    for (begin, end), made in ((DEMO_MARKS, demo(every)), (MARKS, table(every))):
        page = replaced(page, begin, made, end)
    return page


def main() -> None:
    """Keep the comparisons that are named, and write the tables."""
    every = json.loads(KEPT.read_text("utf-8"))
    for folder in sys.argv[1:]:
        for name, found in kept(folder).items():
            lines = every.get(name, {}) | found
            every[name] = {rule: lines[rule] for rule in RULES if rule in lines}
    KEPT.write_text(json.dumps(every, indent=1) + "\n", "utf-8")
    README.write_text(readme(), "utf-8")


if __name__ == "__main__":
    main()
