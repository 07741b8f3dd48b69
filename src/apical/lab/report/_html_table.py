"""The result table of the HTML page: texts of cells and the keys they are sorted by."""

import math
from typing import NamedTuple

from apical.lab.report._summary import BASELINES, Interval, Row
from apical.lab.report.figures._costs import COSTS
from apical.lab.storage._jsonl import Lines

# ---- Numbers as text; unknown ones are a dash

UNKNOWN = "–"


def percent(value: Interval) -> str:
    """A fraction in percent, with its interval if it has one.

    Example:
        >>> percent(Interval(0.9718, 0.004)), percent(Interval(0.97, math.nan))
        ('97.2 ± 0.4', '97.0')
    """
    mean, half = (100 * part for part in value)
    if math.isnan(mean):
        return UNKNOWN
    return f"{mean:.1f}" if math.isnan(half) else f"{mean:.1f} ± {half:.1f}"


def points(value: Interval) -> str:
    """A difference in percentage points, always with its sign.

    Example:
        >>> points(Interval(-0.011, 0.003)), points(Interval(0.0, 0.0))
        ('−1.1 ± 0.3', '0.0 ± 0.0')
    """
    mean, half = (100 * part for part in value)
    if math.isnan(mean):
        return UNKNOWN
    sign = "−" if round(mean, 1) < 0 else "+" if round(mean, 1) > 0 else ""
    signed = f"{sign}{abs(mean):.1f}"
    return signed if math.isnan(half) else f"{signed} ± {half:.1f}"


def cosine(value: float) -> str:
    """An alignment, to two decimals.

    Example:
        >>> cosine(-0.004), cosine(-0.25)
        ('0.00', '−0.25')
    """
    return UNKNOWN if math.isnan(value) else f"{value:z.2f}".replace("-", "−")


def ratio(value: float) -> str:
    """A ratio to backpropagation, to about three figures.

    Example:
        >>> ratio(1.0376), ratio(11.657), ratio(211.6), ratio(math.nan)
        ('1.04', '11.7', '212', '–')
    """
    if math.isnan(value):
        return UNKNOWN
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def plain(value: float) -> str:
    """A hyper-parameter, to three figures."""
    return UNKNOWN if math.isnan(value) else f"{value:.3g}".replace("-", "−")


def counted(number: int, word: str) -> str:
    """A number and a noun, in the plural unless the number is 1."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


# ---- Columns and rows

COLUMNS = (  # the third is the score
    *("rule", "loss descended", "{}, %", "−\N{NO-BREAK SPACE}backprop, points"),
    *("alignment, start → end", "time", "FLOPs", "memory", "depth"),
    *("step size", "all parameters, start → end", "status"),
)


class Cell(NamedTuple):
    """The text of a cell, and the number it is sorted by (None: by its text)."""

    text: str
    key: float | None = None


class TableRow(NamedTuple):
    """A row of the table."""

    status: str
    cells: tuple[Cell, ...]


def table_row(row: Row, records: Lines) -> TableRow:
    """One rule on one model.

    Args:
        row: the summary of the run.
        records: its lines.
    """
    shown = row.status in ("ok", "unfinished")
    accuracy = Cell(percent(row.accuracy), row.accuracy.mean) if shown else _unknown()
    compared = row.status == "ok" and row.rule not in BASELINES
    cells = (
        Cell(row.rule),
        Cell(row.descends),
        accuracy,
        Cell(points(row.difference), row.difference.mean) if compared else _unknown(),
        _cosines(row.alignment_start, row.alignment_end),
        *(Cell(ratio(cost.ratio(row)), cost.ratio(row)) for cost in COSTS),
        Cell(plain(row.learning_rate), row.learning_rate),
        _cosines(row.overall_start, row.overall_end),
        Cell(status(row, records)),
    )
    return TableRow(row.status, cells)


def status(row: Row, records: Lines) -> str:
    """The status of a run in words."""
    if row.status == "diverged":
        return f"diverged: {row.diverged} of {counted(row.seeds, 'seed')}"
    if row.status == "unfinished":
        reached = max(record["epoch"] for record in records)
        return f"unfinished: epoch {reached} of {records[0]['epochs']}"
    return f"{row.status}, values {row.regime}" if row.regime else row.status


def _cosines(before: Interval, after: Interval) -> Cell:
    start, end = before.mean, after.mean
    if math.isnan(start) and math.isnan(end):
        return _unknown()
    return Cell(f"{cosine(start)} → {cosine(end)}", start if math.isnan(end) else end)


def _unknown() -> Cell:
    return Cell(UNKNOWN, math.nan)
