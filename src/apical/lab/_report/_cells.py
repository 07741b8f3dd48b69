"""The table of the page: cells with what they show and what they are sorted by."""

import math
from typing import NamedTuple

from apical.lab._report._costs import COSTS
from apical.lab._report._numbers import UNKNOWN, cosine, counted, percent, plain, points
from apical.lab._report._numbers import ratio as shown_ratio
from apical.lab._summary import BASELINES, Interval, Records, Row

COLUMNS = (  # the third is the score
    *("rule", "loss descended", "{}, %", "−\N{NO-BREAK SPACE}backprop, points"),
    *("alignment, start → end", "time", "FLOPs", "memory", "depth"),
    *("step size", "all parameters, start → end", "status"),
)


class Cell(NamedTuple):
    """What a cell shows, and the number that it is sorted by; None: by its words."""

    text: str
    key: float | None = None


class Line(NamedTuple):
    """A row of the table."""

    status: str
    cells: tuple[Cell, ...]


def line(row: Row, records: Records) -> Line:
    """One rule on one model.

    Args:
        row: what the run came to.
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
        *(Cell(shown_ratio(cost.ratio(row)), cost.ratio(row)) for cost in COSTS),
        Cell(plain(row.learning_rate), row.learning_rate),
        _cosines(row.overall_start, row.overall_end),
        Cell(status(row, records)),
    )
    return Line(row.status, cells)


def status(row: Row, records: Records) -> str:
    """How a run ended, in words."""
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
