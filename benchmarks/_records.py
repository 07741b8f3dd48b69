"""Records of measurements: one line, the table, and the file."""

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
from rich.console import Console
from rich.table import Table

from ._harness import Timing


@dataclass(frozen=True)
class Record:
    """A measurement, its reference, and its limit.

    `ratio` is the median of the ratios of each round to `base`; `low` and `high` are
    their quartiles. `bound` is what the arithmetic alone would cost.
    """

    section: str
    model: str
    what: str
    ratio: float
    base: str = "jax.value_and_grad"
    limit: float | None = None
    bound: float | None = None
    low: float | None = None
    high: float | None = None
    seconds: float | None = None
    base_seconds: float | None = None
    fastest: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the limit holds; empty where there is none."""
        if self.note.startswith("not measured"):
            return "error"
        if self.limit is None:
            return ""
        # What is printed as 1.10 holds a limit of 1.10.
        return "ok" if round(self.ratio, 2) <= self.limit else "over"


def timed(
    section: str,
    model: str,
    what: str,
    timings: tuple[Timing, Timing],
    base: str = "jax.value_and_grad",
    limit: float | None = None,
    bound: float | None = None,
    note: str = "",
) -> Record:
    """A record of the time of the first of `timings` relative to the second."""
    one, other = timings
    low, ratio, high = one.ratio(other)
    return Record(
        section=section,
        model=model,
        what=what,
        ratio=ratio,
        base=base,
        limit=limit,
        bound=bound,
        low=low,
        high=high,
        seconds=one.median,
        base_seconds=other.median,
        fastest=one.fastest / other.fastest,
        note=note,
    )


def failed(section: str, model: str, what: str, error: Exception) -> Record:
    """A record of a failed measurement, so that the others continue."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else ""
    note = f"not measured: {type(error).__name__}: {first}"
    return Record(section, model, what, float("nan"), note=note)


def environment() -> dict[str, object]:
    """Versions and hardware, on which a ratio may depend."""
    return {
        "jax": jax.__version__,
        "python": platform.python_version(),
        "backend": jax.default_backend(),
        "devices": jax.device_count(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "processor": platform.machine(),
    }


def write(path: Path, records: Iterable[Record]) -> None:
    """One JSON object a line: the environment, then every record."""
    lines = [{"environment": environment()}]
    lines += [{**asdict(record), "verdict": record.verdict} for record in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def show(console: Console, records: list[Record]) -> None:
    """Print the table, the errors under it, and how many limits hold."""
    table = Table(title=_title(), title_justify="left", header_style="bold")
    for name in ("section", "model", "what"):
        table.add_column(name, no_wrap=True)
    for name in ("ratio", "quartiles", "fastest"):
        table.add_column(name, justify="right")
    table.add_column("to")
    for name in ("limit", "bound", "time", "verdict"):
        table.add_column(name, justify="right")
    previous = None
    for record in records:
        if previous is not None and record.section != previous:
            table.add_section()
        previous = record.section
        table.add_row(*_cells(record))
    console.print(table)
    _show_notes(console, records)


def _show_notes(console: Console, records: list[Record]) -> None:
    for note in dict.fromkeys(record.note for record in records if record.note):
        which = [f"{r.model}, {r.what}" for r in records if r.note == note]
        console.print(f"{'; '.join(which)}: {note}", highlight=False)
    if any(_impossible(record) for record in records):
        console.print("(over): the multiply-adds alone cost more than the limit.")
    held = sum(record.verdict == "ok" for record in records)
    judged = held + sum(record.verdict == "over" for record in records)
    console.print(f"{held} of {judged} limits hold.")


def _title() -> str:
    facts = environment()
    return (
        f"JAX {facts['jax']}, Python {facts['python']}, {facts['backend']}, "
        f"{facts['cores']} cores. Ratios are medians over paired rounds; "
        "bound: multiply-adds alone."
    )


def _impossible(record: Record) -> bool:
    limit, bound = record.limit, record.bound
    over = record.verdict == "over"
    return over and limit is not None and bound is not None and bound > limit


def _cells(record: Record) -> list[str]:
    colour = {"ok": "green", "over": "red", "error": "red"}.get(record.verdict, "")
    verdict = f"({record.verdict})" if _impossible(record) else record.verdict
    verdict = f"[{colour}]{verdict}[/]" if colour else ""
    spread = "" if record.low is None else f"{record.low:.2f}-{record.high:.2f}"
    return [
        record.section,
        record.model,
        record.what,
        f"{record.ratio:.2f}",
        spread,
        "" if record.fastest is None else f"{record.fastest:.2f}",
        record.base,
        "" if record.limit is None else f"{record.limit:.2f}",
        "" if record.bound is None else f"{record.bound:.2f}",
        "" if record.seconds is None else f"{1e3 * record.seconds:.2f} ms",
        verdict,
    ]
