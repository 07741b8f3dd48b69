"""The table that a comparison prints."""

import math
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from apical.lab._registry import BASELINE
from apical.lab._summary import Interval, Records, Row, summarise


def table(records: Records, costs: Records = ()) -> Table:
    """A table of the last epoch of every model and rule."""
    rows = summarise(records, costs)
    swept = records[0]["sweep"] > 0
    grid = Table(
        title=_title(records[0]),
        caption=_caption(records[0], rows),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    grid.add_column("rule", no_wrap=True)
    grid.add_column("test\naccuracy %", justify="right", no_wrap=True)
    grid.add_column("− backprop", justify="right", no_wrap=True)
    grid.add_column("alignment\nstart → end", justify="center", no_wrap=True)
    grid.add_column("time\nratio", justify="right", no_wrap=True)
    if swept:
        grid.add_column("step size", justify="right", no_wrap=True)
    for model in dict.fromkeys(row.model for row in rows):
        grid.add_section()
        grid.add_row(f"[bold]{model}[/]")
        for row in rows:
            if row.model == model:
                grid.add_row(*_cells(row, swept))
    return grid


def tuning(record: dict[str, Any]) -> str:
    """How the hyper-parameters were come by."""
    if record["sweep"]:
        return (
            f"{record['optimizer']}; each rule with the best of {record['sweep']} "
            "trials of its own, scored on a held-out part of the training set"
        )
    rate = f"{record['learning_rate']:g}"
    return f"{record['optimizer']}, step size {rate} for every rule, no tuning"


def outcome(row: Row) -> str:
    """What a run came to, in a few words."""
    if row.status == "refused":
        return f"{_accuracy(row)}: {escape(row.message)}"
    return f"{_accuracy(row)}   alignment {_alignment(row)}"


def _cells(row: Row, swept: bool) -> tuple[str, ...]:
    ratio = "–" if math.isnan(row.time_ratio) else f"{row.time_ratio:.2f}"
    cells = row.rule, _accuracy(row), _difference(row), _alignment(row), ratio
    found = (f"{row.learning_rate:.2g}",) if swept else ()
    return (*cells, *found)


def _difference(row: Row) -> str:
    mean, half = (100 * part for part in row.difference)
    if row.rule == BASELINE or math.isnan(mean):
        return "–"
    return f"{mean:+.1f}" if math.isnan(half) else f"{mean:+.1f} ± {half:.1f}"


def _accuracy(row: Row) -> str:
    if row.status == "refused":
        return "[yellow]refused[/]"
    if row.status == "diverged":
        return f"[red]diverged[/] {row.diverged}/{row.seeds}"
    mean, half = (100 * part for part in row.accuracy)
    text = f"{mean:.1f}" if math.isnan(half) else f"{mean:.1f} ± {half:.1f}"
    return f"{text} [yellow]unfinished[/]" if row.status == "unfinished" else text


def _alignment(row: Row) -> str:
    return f"{_cosine(row.alignment_start)} → {_cosine(row.alignment_end)}"


def _cosine(value: Interval) -> str:
    return "–" if math.isnan(value.mean) else f"{value.mean:.2f}"


def _title(record: dict[str, Any]) -> str:
    seeds, epochs = (_counted(record[f"{word}s"], word) for word in ("seed", "epoch"))
    return f"{record['data']}, {seeds}, {epochs}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _caption(record: dict[str, Any], rows: list[Row]) -> str:
    lines = [
        f"{tuning(record)}. Accuracy of the last epoch: mean ± 95 % interval over "
        "seeds; − backprop: the difference, seed by seed. Alignment: cosine to "
        "backprop's gradient. Time: median step against one of backprop timed in turn "
        "with it, compilation apart. What each rule needs: `apical rules`.",
    ]
    if record["note"]:
        lines.append(escape(record["note"]))
    lines += [
        f"{row.model}, {row.rule}: refused. {escape(row.message)}"
        for row in rows
        if row.status == "refused"
    ]
    return "\n".join(lines)
