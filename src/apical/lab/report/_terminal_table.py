"""The table that a comparison prints."""

import json
import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from apical.lab.report._summary import BASELINES, Interval, Records, Row
from apical.lab.report._terminal import Cell, Name, grid, said
from apical.lab.storage._jsonl import Line
from apical.lab.training._regime import _NARROW

_HEADERS = (
    *("rule", "test\n{score} %", "− backprop", "alignment\nstart → end"),
    *("time\nratio", "step\nsize", "values"),
)
STYLES = {"diverging": "red", "slow": "yellow"}


def table(records: Records, rows: list[Row]) -> Table:
    """A table of the last epoch of every model and rule."""
    # Neither column says anything where all its cells are alike.
    left_out = {"step\nsize"} if not records[0]["sweep"] else set()
    left_out |= set() if any(row.regime for row in rows) else {"values"}
    shown = [i for i, header in enumerate(_HEADERS) if header not in left_out]
    lines: list[list[Cell]] = []
    for model in dict.fromkeys(row.model for row in rows):
        lines.append([Name(model, "bold")])
        mine = (_cells(row) for row in rows if row.model == model)
        lines += [[cells[i] for i in shown] for cells in mine]
    return grid(
        [_HEADERS[i].format(score=rows[0].score.name) for i in shown],
        lines,
        numbers=range(1, len(shown)),
        title=_title(records[0]),
        caption=_caption(records[0], rows),
    )


def tuning(record: dict[str, Any]) -> str:
    """How the hyper-parameters were come by."""
    if record["sweep"]:
        return (
            f"{record['optimizer']}; each rule with the best of {record['sweep']} "
            "trials of its own, scored on a held-out part of the training set"
        )
    rate = f"{record['learning_rate']:g}"
    return f"{record['optimizer']}, step size {rate} for every rule, no tuning"


def sources_of_noise(record: dict[str, Any]) -> str:
    """What an interval is over."""
    return "seeds and draws of the trials" if record["sweep"] else "seeds"


def other_losses(
    record: dict[str, Any], rows: list[Row]
) -> dict[tuple[str, str], list[str]]:
    """The rules that descend another loss than the comparison's: by it and baseline."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.descends != record["loss"] and row.rule not in BASELINES:
            names = found.setdefault((row.descends, row.baseline), [])
            names += [] if row.rule in names else [row.rule]
    return found


def outcome(row: Row) -> Text:
    """What a run came to, in a few words."""
    if row.status == "refused":
        return Text.assemble(_accuracy(row), ": ", said(row.message))
    parts = [_accuracy(row), said(f"   alignment {_alignment(row)}")]
    if row.regime in STYLES:
        parts.append(Text.assemble("   values ", _values(row)))
    return Text.assemble(*parts)


def _cells(row: Row) -> tuple[Cell, ...]:
    ratio = "–" if math.isnan(row.time_ratio) else f"{row.time_ratio:.2f}"
    size = f"{row.learning_rate:.2g}"
    told = (said(t) for t in (_difference(row), _alignment(row), ratio, size))
    return Name(row.rule), _accuracy(row), *told, _values(row)


def _values(row: Row) -> Text:
    """How the values of predictive coding ended: diverging, slow or stable."""
    return said(row.regime or "–", STYLES.get(row.regime, ""))


def _difference(row: Row) -> str:
    mean, half = (100 * part for part in row.difference)
    if row.rule in BASELINES or math.isnan(mean):
        return "–"
    return f"{mean:+.1f}" if math.isnan(half) else f"{mean:+.1f} ± {half:.1f}"


def _accuracy(row: Row) -> Text:
    if row.status == "refused":
        return said("refused", "yellow")
    if row.status == "diverged":
        return Text.assemble(
            said("diverged", "red"), said(f" {row.diverged}/{row.seeds}")
        )
    mean, half = (100 * part for part in row.accuracy)
    text = said(f"{mean:.1f}" if math.isnan(half) else f"{mean:.1f} ± {half:.1f}")
    if row.status == "unfinished":
        return Text.assemble(text, " ", said("unfinished", "yellow"))
    return text


def _alignment(row: Row) -> str:
    return f"{_cosine(row.alignment_start)} → {_cosine(row.alignment_end)}"


def _cosine(value: Interval) -> str:
    return "–" if math.isnan(value.mean) else f"{value.mean:z.2f}"


def _title(record: dict[str, Any]) -> str:
    seeds, epochs = (counted(record[f"{word}s"], word) for word in ("seed", "epoch"))
    return f"{record['data']}, {seeds}, {epochs}"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _caption(record: dict[str, Any], rows: list[Row]) -> str:
    lines = [
        f"{tuning(record)}. {_capital(rows[0].score.name)} of the last epoch: mean ± "
        "95 % interval over "
        f"{sources_of_noise(record)}; − backprop: the difference, seed by seed. "
        "Alignment: cosine to backprop's gradient, the mean of the hidden layers. "
        "Time: median step against one of backprop timed in turn with it, compilation "
        "apart; backprop's own shows the noise. What each rule needs: `apical rules`.",
    ]
    lines += [
        f"Not {record['loss']} but {loss} is what these descend, and what they are "
        f"compared with is {baseline or 'not among the rules'}: {', '.join(names)}."
        for (loss, baseline), names in other_losses(record, rows).items()
    ]
    if any(row.regime for row in rows):
        lines.append(
            "Values: whether those of free predictions came to rest after the last "
            "epoch: stable; slow, not yet; or diverging, and the update is not that of "
            "the rule. A smaller rate, or another way of inference, may help."
        )
    if record["note"]:
        lines.append(record["note"])
    lines += [
        f"{row.model}, {row.rule}: refused. {row.message}"
        for row in rows
        if row.status == "refused"
    ]
    return "\n".join(lines)


COLUMNS = (
    *("model", "rule", "epoch", "residual", "rate x curvature"),
    *("to backprop", "to equilibrium", "steps", "update", "energy by node"),
)


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
