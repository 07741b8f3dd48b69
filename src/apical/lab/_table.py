"""The table that a comparison prints."""

import math
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from apical.lab._registry import RULES
from apical.lab._summary import Interval, Records, Row, summarise


def table(records: Records) -> Table:
    """A table of the last epoch of every model and rule."""
    rows = summarise(records)
    needs = _all_needs(rows)
    grid = Table(
        title=_title(records[0]),
        caption=_caption(records[0], rows, needs),
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    grid.add_column("rule", no_wrap=True)
    grid.add_column("test accuracy %", justify="right", min_width=11)
    grid.add_column("alignment start → end", justify="center", min_width=11)
    grid.add_column("time ÷ backprop", justify="right", min_width=8)
    grid.add_column("needs", no_wrap=True)
    for model in dict.fromkeys(row.model for row in rows):
        grid.add_section()
        grid.add_row(f"[bold]{model}[/]")
        for row in rows:
            if row.model == model:
                grid.add_row(*_cells(row, needs))
    return grid


def outcome(row: Row) -> str:
    """What a run came to, in a few words."""
    if row.status == "refused":
        return f"{_accuracy(row)}: {escape(row.message)}"
    return f"{_accuracy(row)}   alignment {_alignment(row)}"


def _cells(row: Row, needs: list[str]) -> tuple[str, ...]:
    ratio = "–" if math.isnan(row.time_ratio) else f"{row.time_ratio:.2f}"
    return f" {row.rule}", _accuracy(row), _alignment(row), ratio, _marks(row, needs)


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


def _needs(row: Row) -> tuple[str, ...]:
    return RULES[row.rule].needs


def _all_needs(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(need for row in rows for need in _needs(row)))


def _marks(row: Row, needs: list[str]) -> str:
    mine = _needs(row)
    numbered = enumerate(needs, start=1)
    return " ".join(str(i) if need in mine else "·" for i, need in numbered)


def _title(record: dict[str, Any]) -> str:
    seeds, epochs = (_counted(record[f"{word}s"], word) for word in ("seed", "epoch"))
    return f"{record['data']}, {seeds}, {epochs}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _caption(record: dict[str, Any], rows: list[Row], needs: list[str]) -> str:
    lines = [
        f"{record['optimizer']}, step size {record['rate']:g}: same rate for all; no "
        "tuning. Accuracy of the last epoch: mean ± 95 % interval over seeds. "
        "Alignment: cosine to backprop's gradient. Time: median step against one of "
        "backprop timed in turn with it, compilation apart.",
        "Needs: " + ", ".join(f"{i} {need}" for i, need in enumerate(needs, 1)) + ".",
    ]
    if record["note"]:
        lines.append(escape(record["note"]))
    lines += [
        f"{row.model}, {row.rule}: refused. {escape(row.message)}"
        for row in rows
        if row.status == "refused"
    ]
    return "\n".join(lines)
