"""The table that a comparison prints."""

import math
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from apical.lab._summary import BASELINES, Interval, Records, Row

_HEADERS = (
    *("rule", "test\naccuracy %", "− backprop", "alignment\nstart → end"),
    *("time\nratio", "step\nsize"),
)


def table(records: Records, rows: list[Row]) -> Table:
    """A table of the last epoch of every model and rule."""
    swept = records[0]["sweep"] > 0
    grid = Table(
        title=_title(records[0]),
        caption=_caption(records[0], rows),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    columns = _HEADERS if swept else _HEADERS[:-1]
    lines = [(row.model, _cells(row)[: len(columns)]) for row in rows]
    grid.add_column(columns[0], overflow="fold")
    for header, *below in list(
        zip(columns, *(cells for _, cells in lines), strict=True)
    )[1:]:
        # Where there is little room the names are folded, never the numbers.
        width = max(Text.from_markup(cell).cell_len for cell in below)
        header_width = max(map(len, header.split("\n")))
        grid.add_column(header, justify="right", min_width=max(width, header_width))
    for model in dict.fromkeys(row.model for row in rows):
        grid.add_section()
        grid.add_row(f"[bold]{escape(model)}[/]")
        for of, cells in lines:
            if of == model:
                grid.add_row(*cells)
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


def outcome(row: Row) -> str:
    """What a run came to, in a few words."""
    if row.status == "refused":
        return f"{_accuracy(row)}: {escape(row.message)}"
    return f"{_accuracy(row)}   alignment {_alignment(row)}"


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "–" if math.isnan(row.time_ratio) else f"{row.time_ratio:.2f}"
    size = f"{row.learning_rate:.2g}"
    name = escape(row.rule)
    return name, _accuracy(row), _difference(row), _alignment(row), ratio, size


def _difference(row: Row) -> str:
    mean, half = (100 * part for part in row.difference)
    if row.rule in BASELINES or math.isnan(mean):
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
    return "–" if math.isnan(value.mean) else f"{value.mean:z.2f}"


def _title(record: dict[str, Any]) -> str:
    seeds, epochs = (_counted(record[f"{word}s"], word) for word in ("seed", "epoch"))
    return f"{record['data']}, {seeds}, {epochs}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _caption(record: dict[str, Any], rows: list[Row]) -> str:
    lines = [
        f"{tuning(record)}. Accuracy of the last epoch: mean ± 95 % interval over "
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
    if record["note"]:
        lines.append(escape(record["note"]))
    lines += [
        f"{row.model}, {row.rule}: refused. {escape(row.message)}"
        for row in rows
        if row.status == "refused"
    ]
    return "\n".join(lines)
