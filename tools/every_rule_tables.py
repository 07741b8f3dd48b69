"""Markdown tables of all rules, from the figures of `results/every-rule.json`."""

from __future__ import annotations

import math
from typing import Any

from apical.lab._registry import COMPARED, CONTROL, RULES
from apical.lab.report._summary import BASELINES, Interval, shown_above, standing
from apical.rules.tools import NEEDS

TUNED = "mlp, 8 epochs"
NOT_TUNED = ("mlp, 8 epochs, not tuned", "cnn, 8 epochs, not tuned")
LONGER = ("mlp, 40 epochs", "mlp-tanh, 40 epochs")  # of rules not above the control
SIX = (
    *("backpropagation", "feedback-alignment", "direct-feedback-alignment"),
    *("predictive-coding", "equilibrium-propagation", CONTROL),
)
LEGEND = (
    "Accuracy on the test part of the 8 x 8 digits after 8 epochs: mean of 5 seeds "
    "with a 95 % interval. MLP and CNN: `apical compare`, with one step size for all "
    "rules (–: not among its default rules). MLP, tuned: `apical compare --rules all "
    "--model mlp --sweep 16`, each rule at the best of 16 trials. Alignment (the "
    "cosine between the update of the hidden layers and backpropagation's, before → "
    "after training) and time (of a step, divided by backpropagation's) are those of "
    "the tuned runs. [All rules](docs/every-rule.md)."
)
EARLIER = (
    "Slanted: the hyper-parameters were chosen in trials of an earlier comparison, "
    "which were not scored on the test part, so that the interval of the accuracy is "
    "over seeds alone. The difference to the control is then that of the two means, "
    "not paired by seed."
)
LOSSES = {"cross-entropy": "CE", "squared-error": "SE"}

# Why a rule is not shown to be above the control, where the reason is known.
_LARGE = "its signal does not become small, and drives rectifiers far from 0"
_NOISE = "variance: one number for 26 thousand parameters, in 180 steps"
_NOISE_AT_NODES = "variance: one number for 266 activities of an example, in 180 steps"
_INVERSES = "rectifiers have no inverse below 0: its papers use smooth units"
REASONS: dict[str, str] = {
    "direct-feedback-alignment-sign": _LARGE,
    "direct-random-target-projection": _LARGE,
    "coupled-learning": "some seeds fail at the hyper-parameters that its trials chose",
    "target-propagation": "its targets contain the error of the inverses",
    "difference-reconstruction": _INVERSES,
    "fixed-weight-target-propagation": _INVERSES,
    "synthetic-gradients": "slow: critics without the label have to guess it",
    "forward-forward": "slow at first, one layer after the other",
    "pepita": "slow: its paper trains for 100 epochs",
    "weight-perturbation": _NOISE,
    "node-perturbation": _NOISE_AT_NODES,
    "forward-gradient": _NOISE,
    "forward-gradient-activities": _NOISE_AT_NODES,
    "evolution-strategy": _NOISE,
}


# ---- Which rules are shown to be above the control


def above(line: Any, control: Any) -> bool:
    """Whether a line is shown to be above that of the control."""
    difference = _to_control(line, control)
    return None not in difference and shown_above(Interval(*difference))


def _to_control(line: Any, control: Any) -> Any:
    """The difference to the control; for an earlier line that of the two means."""
    if "earlier" not in line or line["accuracy"][0] is None:
        return line.get("above the control", [None, None])
    (mean, half), (least, more) = line["accuracy"], control["accuracy"]
    return [mean - least, math.hypot(half, more)]


def failing(lines: dict[str, Any]) -> list[str]:
    """The rules that are not shown to be above the control."""
    rest = [rule for rule in lines if rule != CONTROL]
    return [rule for rule in rest if not above(lines[rule], lines[CONTROL])]


# ---- The tables


def all_rules(every: dict[str, Any]) -> str:
    """A row for each rule, tuned."""
    lines = every[TUNED]
    columns = ("rule", "loss", "accuracy %", "− backprop", "above the control")
    columns += ("alignment", "by layer", "time", "FLOPs", "needs")
    legend = "; ".join(f"{i} {need}" for i, need in enumerate(NEEDS, 1))
    rows = [_row(rule, line, lines[CONTROL]) for rule, line in lines.items()]
    rule = "|---|---|--:|--:|--:|--:|--:|--:|--:|---|"
    parts = [f"Needs: {legend}.", "", _joined(columns), rule, *rows]
    shown = [line for name in (TUNED, *LONGER) for line in every.get(name, {}).values()]
    if any("earlier" in line for line in shown):
        parts += ["", EARLIER]
    return "\n".join(parts)


def not_above_the_control(every: dict[str, Any]) -> str:
    """A row for each rule that is not above the control, with the reason."""
    rows = [
        _longer(rule, every) for rule in (*failing(every[TUNED]), *BASELINES, CONTROL)
    ]
    return "\n".join([_joined(("rule", *LONGER, "why")), "|---|--:|--:|---|", *rows])


def default_rules(every: dict[str, Any]) -> str:
    """The rules that are compared by default, on two models, and tuned on one."""
    columns = ["rule"]
    for name in NOT_TUNED:
        model = name.split(",")[0].upper()
        columns += [f"{model}: accuracy %", "− backprop", "alignment", "time"]
    columns += ["MLP, each tuned", "− backprop"]
    rows = []
    for rule in COMPARED:
        cells = [f"`{rule}`"]
        for line in (every[name][rule] for name in NOT_TUNED):
            cells += [accuracy_cell(line), to_backprop_cell(rule, line)]
            cells += [arrow_cell(line["alignment"]), _number(line["time"], 1)]
        tuned = every[TUNED][rule]
        cells += [accuracy_cell(tuned), to_backprop_cell(rule, tuned)]
        rows.append(_joined(cells))
    return "\n".join([_joined(columns), "|---" * len(columns) + "|", *rows])


def six_rules(every: dict[str, Any]) -> str:
    """Six rules on two models, for the README, and what its columns are."""
    columns = ("rule", "MLP %", "CNN %", "MLP, tuned %", "alignment", "time")
    rows = []
    for rule in SIX:
        tuned, lines = every[TUNED][rule], [every[name].get(rule) for name in NOT_TUNED]
        cells = [f"`{rule}`", *("–" if e is None else accuracy_cell(e) for e in lines)]
        cells += [accuracy_cell(tuned), arrow_cell(tuned["alignment"])]
        rows.append(_joined([*cells, _number(tuned["time"], 1)]))
    table = [_joined(columns), "|---" + "|--:" * (len(columns) - 1) + "|", *rows]
    return "\n".join([*table, "", LEGEND])


# ---- Rows and cells


def _joined(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _row(rule: str, line: Any, control: Any) -> str:
    layers = " ".join(_number(value) for value in line["by layer"])
    needs = sorted(1 + NEEDS.index(need) for need in RULES[rule].needs)
    return _joined(
        [
            f"`{rule}`",
            LOSSES[line["descends"]],
            _slanted(line),
            to_backprop_cell(rule, line),
            above_cell(rule, line, control),
            arrow_cell(line["alignment"]),
            layers,
            _number(line["time"], 1),
            _number(line["FLOPs"], 1),
            " ".join(map(str, needs)),
        ]
    )


def above_cell(rule: str, line: Any, control: Any) -> str:
    """Points above the control, where that is shown."""
    if rule == CONTROL:
        return ""
    if not above(line, control):
        return "not shown"
    mean, half = _to_control(line, control)
    return f"{mean:+.1f} ± {half:.1f}"


def _longer(rule: str, every: dict[str, Any]) -> str:
    """The accuracy after longer training, in bold where it is above the control."""
    cells = [f"`{rule}`"]
    for name in LONGER:
        line = every.get(name, {}).get(rule)
        shown = "" if line is None else _slanted(line)
        enough = line is not None and above(line, every[name][CONTROL])
        cells.append(f"**{shown}**" if enough and rule not in BASELINES else shown)
    why = "" if rule in (*BASELINES, CONTROL) else _why(rule, every[TUNED])
    return _joined([*cells, why])


def _why(rule: str, lines: dict[str, Any]) -> str:
    """The reason, or that the interval is too wide to tell."""
    mean, half = _to_control(lines[rule], lines[CONTROL])
    return REASONS.get(rule, f"{mean:+.1f} ± {half:.1f}: the interval contains 0")


def _slanted(line: Any) -> str:
    return f"*{accuracy_cell(line)}*" if "earlier" in line else accuracy_cell(line)


def accuracy_cell(line: Any) -> str:
    """The mean accuracy in percent, and half the interval."""
    mean, half = line["accuracy"]
    return "diverged" if mean is None else f"{mean:.1f} ± {half or 0:.1f}"


def to_backprop_cell(rule: str, line: Any) -> str:
    """Points, and whether that is equal, above, below or open."""
    mean, half = line["minus backprop"]
    if rule in BASELINES:
        return ""
    if mean is None or half is None:
        return "–"
    stands = standing(Interval(mean / 100, half / 100))
    return f"{mean:+.1f} ± {half:.1f} {stands}".replace("-", "−")


def arrow_cell(ends: list[float | None]) -> str:
    """Two numbers, before and after training."""
    return " → ".join(_number(end) for end in ends)


def _number(value: float | None, places: int = 2) -> str:
    if value is None:
        return "–"
    return f"{value:z.{places}f}".replace("-", "−")
