"""The tables that a comparison prints in the terminal: results and regimes."""

import json
import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from apical.lab.report._summary import BASELINES, Interval, Row
from apical.lab.report._terminal import (
    Cell,
    GroupedTable,
    NameCell,
    WidestThatFits,
    as_text,
    make_table,
)
from apical.lab.storage._jsonl import Line, Lines

_HEADERS = (
    *("rule", "test\n{score} %", "− backprop", "alignment\nstart → end"),
    *("time\nratio", "step\nsize", "values"),
)
STYLES = {"diverging": "red", "slow": "yellow"}


def table(records: Lines, rows: list[Row]) -> Table:
    """A table of the last epoch of every model and rule."""
    # Neither column says anything where all its cells are alike.
    left_out = {"step\nsize"} if not records[0]["sweep"] else set()
    left_out |= set() if any(row.regime for row in rows) else {"values"}
    shown = [i for i, header in enumerate(_HEADERS) if header not in left_out]
    lines: list[list[Cell]] = []
    for model in dict.fromkeys(row.model for row in rows):
        lines.append([NameCell(model, "bold")])
        mine = (_cells(row) for row in rows if row.model == model)
        lines += [[cells[i] for i in shown] for cells in mine]
    return make_table(
        [_HEADERS[i].format(score=rows[0].score.name) for i in shown],
        lines,
        numbers=range(1, len(shown)),
        title=_title(records[0]),
        caption=_caption(records[0], rows),
    )


def tuning(record: Line) -> str:
    """How the hyper-parameters were chosen, in words."""
    if record["sweep"]:
        return (
            f"{record['optimizer']}; each rule with its best of {record['sweep']} "
            "trials, scored on a held-out part of the training set"
        )
    rate = f"{record['learning_rate']:g}"
    return f"{record['optimizer']}, step size {rate} for every rule, no tuning"


def sources_of_noise(record: Line) -> str:
    """The sources of noise that an interval covers, in words."""
    return "seeds and draws of the trials" if record["sweep"] else "seeds"


def other_losses(record: Line, rows: list[Row]) -> dict[tuple[str, str], list[str]]:
    """The rules that descend another loss, by that loss and their baseline."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.descends != record["loss"] and row.rule not in BASELINES:
            names = found.setdefault((row.descends, row.baseline), [])
            names += [] if row.rule in names else [row.rule]
    return found


def outcome(row: Row) -> Text:
    """The result of a run in a few words."""
    if row.status == "refused":
        return Text.assemble(_accuracy(row), ": ", as_text(row.message))
    parts = [_accuracy(row), as_text(f"   alignment {_alignment(row)}")]
    if row.regime in STYLES:
        parts.append(Text.assemble("   values ", _values(row)))
    return Text.assemble(*parts)


def _cells(row: Row) -> tuple[Cell, ...]:
    ratio = "–" if math.isnan(row.time_ratio) else f"{row.time_ratio:.2f}"
    size = f"{row.learning_rate:.2g}"
    told = (as_text(t) for t in (_difference(row), _alignment(row), ratio, size))
    return NameCell(row.rule), _accuracy(row), *told, _values(row)


def _values(row: Row) -> Text:
    """The regime of predictive coding: stable, slow or diverging."""
    return as_text(row.regime or "–", STYLES.get(row.regime, ""))


def _difference(row: Row) -> str:
    mean, half = (100 * part for part in row.difference)
    if row.rule in BASELINES or math.isnan(mean):
        return "–"
    return f"{mean:+.1f}" if math.isnan(half) else f"{mean:+.1f} ± {half:.1f}"


def _accuracy(row: Row) -> Text:
    if row.status == "refused":
        return as_text("refused", "yellow")
    if row.status == "diverged":
        return Text.assemble(
            as_text("diverged", "red"), as_text(f" {row.diverged}/{row.seeds}")
        )
    mean, half = (100 * part for part in row.accuracy)
    text = as_text(f"{mean:.1f}" if math.isnan(half) else f"{mean:.1f} ± {half:.1f}")
    if row.status == "unfinished":
        return Text.assemble(text, " ", as_text("unfinished", "yellow"))
    return text


def _alignment(row: Row) -> str:
    return f"{_cosine(row.alignment_start)} → {_cosine(row.alignment_end)}"


def _cosine(value: Interval) -> str:
    return "–" if math.isnan(value.mean) else f"{value.mean:z.2f}"


def _title(record: Line) -> str:
    seeds, epochs = (counted(record[f"{word}s"], word) for word in ("seed", "epoch"))
    return f"{record['data']}, {seeds}, {epochs}"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _caption(record: Line, rows: list[Row]) -> str:
    lines = [
        f"{tuning(record)}. {_capital(rows[0].score.name)} after the last epoch: mean "
        f"± 95 % interval over {sources_of_noise(record)}; − backprop: the difference, "
        "paired by seed. Alignment: cosine to backprop's gradient, mean over hidden "
        "layers. Time: median step relative to one of backprop, timed in alternation, "
        "without compilation; backprop's own ratio shows the noise. Biological "
        "requirements: `apical rules`.",
    ]
    lines += [
        f"These rules descend the {loss}, not the {record['loss']}, and are compared "
        f"with {baseline or 'nothing'}: {', '.join(names)}."
        for (loss, baseline), names in other_losses(record, rows).items()
    ]
    if any(row.regime for row in rows):
        lines.append(
            "Values: whether inference with free predictions reached equilibrium after "
            "the last epoch: stable; slow (not yet); or diverging, and then the update "
            "is not that of the rule. Try a smaller rate or another inference scheme."
        )
    if record["note"]:
        lines.append(record["note"])
    lines += [
        f"{row.model}, {row.rule}: refused. {row.message}"
        for row in rows
        if row.status == "refused"
    ]
    return "\n".join(lines)


# ---- Regimes of predictive coding

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


def regime_table(lines: Lines) -> WidestThatFits:
    """The regimes as a table, to be printed by rich.

    On a narrow terminal the model and the rule are a heading; on a wide one they are
    columns, with the energy by node where it fits.
    """
    rows = [[as_text(cell) for cell in row] for row in regime_rows(lines)]
    runs: dict[str, list[list[Text]]] = {}
    for row in rows:
        runs.setdefault(f"{row[0]}, {row[1]}", []).append(row[2:-1])
    title, narrow = "Regimes of predictive coding", _two_lines(COLUMNS[2:-1])
    return WidestThatFits(
        make_table(COLUMNS, rows, title=title),
        make_table(COLUMNS[:-1], [row[:-1] for row in rows], title=title),
        GroupedTable(narrow, runs, title),
    )


def _two_lines(headers: Sequence[str]) -> list[str]:
    return ["\n".join(header.rsplit(" ", 1)) for header in headers]
