"""In which regime predictive coding runs: measured before training and at its end."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from rich.table import Table

import apical
from apical.lab._journal import Line
from apical.lab._loss import Loss
from apical.lab._terminal import Name, grid
from apical.measure import Regime
from apical.rules import PredictiveCoding, Rule, ZeroDivergence

COLUMNS = (
    *("model", "rule", "epoch", "residual", "rate x curvature"),
    *("to backprop", "to equilibrium", "steps", "update", "energy by node"),
)
# The same for a terminal of 80 columns; to rest is to equilibrium.
_NARROW = (
    *("rule", "epoch", "residual", "rate x\ncurvature", "to\nbackprop", "to\nrest"),
    *("steps", "update"),
)


def has_regime(rule: Rule) -> bool:
    """Whether values of the rule descend an energy towards a rest of their own."""
    if not isinstance(rule, PredictiveCoding):
        return False
    # One step for each level, and the weights of each move on its way.
    passes = isinstance(rule.inference, ZeroDivergence)
    return rule.prediction == "free" and rule.free is None and not passes


def regime_of(loss: Loss, rule: Any, learned: Any, batch: Any) -> Regime:
    """The regime of the first lane, on one batch of the training part."""
    params, statistics, state = jax.tree.map(lambda leaf: leaf[0], learned)
    measure = apical.measure.regime(loss.training, rule, **loss.setting)
    return measure(params, state, statistics, *batch)


def regime_lines(epoch: Any, seed: int) -> Iterator[Line]:
    """The line of an epoch, if its regime was measured."""
    found = epoch.regime
    if found is not None:
        numbers = ("residual", "stiffness", "to_backpropagation", "to_equilibrium")
        yield {
            "seed": seed,
            "epoch": epoch.number,
            **{name: _finite(getattr(found, name)) for name in numbers},
            "steps": found.steps,
            "update": found.update,
            "energy": json.dumps({n: _finite(e) for n, e in found.energy.items()}),
        }


def _finite(number: float) -> float | None:
    return number if abs(number) < float("inf") else None


def regime_rows(lines: Sequence[Line]) -> list[list[str]]:
    """The cells of each line, in the order of `COLUMNS`."""
    return [
        [
            *(line["model"], line["rule"], str(line["epoch"])),
            *(_number(line["residual"], ".1e"), _number(line["stiffness"], ".2f")),
            _number(line["to_backpropagation"], ".3f"),
            _number(line["to_equilibrium"], ".3f"),
            *(line["steps"], line["update"]),
            _energies(json.loads(line["energy"])),
        ]
        for line in lines
    ]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _energies(found: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {_number(e, '.1e')}" for name, e in found.items())


def regime_table(lines: Sequence[Line]) -> Table:
    """The regimes as a table, to be printed by rich, with a heading for each model."""
    rows: list[list[Name]] = []
    for model in dict.fromkeys(line["model"] for line in lines):
        mine = [line for line in lines if line["model"] == model]
        rows.append([Name(model, "bold")])
        rows += [[Name(cell) for cell in row[1:-1]] for row in regime_rows(mine)]
    return grid(_NARROW, rows, title="Regime of predictive coding")
