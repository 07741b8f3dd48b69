"""How far a comparison has come, how long it has taken, how long it will."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Reporter:
    """Is told what is going on; shows nothing."""

    def expect(self, seconds: float) -> None:
        """All runs together will take about so long."""

    def begin(self, label: str, seconds: float = 0.0, steps: int = 1) -> None:
        """A run begins; it should take about so long for so many training steps."""

    def steps(self, number: int) -> None:
        """So many of them have been made."""

    def end(self, label: str, outcome: str) -> None:
        """The run has ended, perhaps early, or had ended before."""


class _Shown(Reporter):
    def __init__(self, progress: Progress):
        self._progress = progress
        self._task = progress.add_task("", total=None)
        self._due, self._per_step = 0.0, 0.0

    def expect(self, seconds: float) -> None:
        self._progress.update(self._task, total=seconds)

    def begin(self, label: str, seconds: float = 0.0, steps: int = 1) -> None:
        self._due, self._per_step = seconds, seconds / steps
        self._progress.update(self._task, description=label)

    def steps(self, number: int) -> None:
        self._due -= number * self._per_step
        self._progress.advance(self._task, number * self._per_step)

    def end(self, label: str, outcome: str) -> None:
        self._progress.advance(self._task, self._due)
        self._due = 0.0
        self._progress.console.print(f"{label:<30} {outcome}")


@contextmanager
def reporter(console: Console | None) -> Iterator[Reporter]:
    """A reporter that shows a bar and the time left; silent without a console."""
    if console is None:
        yield Reporter()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        # Guesses of cost are rough: an average over the last minute puts them right.
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=60.0) as progress:
        yield _Shown(progress)
