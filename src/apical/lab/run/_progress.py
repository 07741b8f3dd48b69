"""How far a comparison has come, how long it has taken, how long it will."""

import math
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
from rich.text import Text

from apical.lab.report._terminal import said, tell, tolerate


class Reporter:
    """Is told what is going on; shows nothing."""

    def expect(self, seconds: float, runs: int) -> None:
        """So many runs are left, and will take about so long together."""

    def begin(self, label: str, seconds: float = 0.0, steps: int = 1) -> None:
        """A run begins; it should take about so long for so many training steps."""

    def steps(self, number: int) -> None:
        """So many of them have been made."""

    def end(self, label: str, outcome: Text) -> None:
        """The run has ended, perhaps early, or had ended before."""


class _Shown(Reporter):
    def __init__(self, progress: Progress):
        self._progress = progress
        self._task = progress.add_task("", total=None)
        self._due, self._per_step = 0.0, 0.0

    def expect(self, seconds: float, runs: int) -> None:
        self._progress.update(self._task, total=seconds)
        if runs:
            words = f"{runs} {'run' if runs == 1 else 'runs'} to do: {guessed(seconds)}"
            tell(self._progress.console, words)
        else:
            done = {"description": "nothing left to do", "total": 1, "completed": 1}
            self._progress.update(self._task, **done)

    def begin(self, label: str, seconds: float = 0.0, steps: int = 1) -> None:
        self._due, self._per_step = seconds, seconds / steps
        self._progress.update(self._task, description=said(label).plain)

    def steps(self, number: int) -> None:
        self._due -= number * self._per_step
        self._progress.advance(self._task, number * self._per_step)

    def end(self, label: str, outcome: Text) -> None:
        self._progress.advance(self._task, self._due)
        self._due = 0.0
        line = Text.assemble(said(f"{label:<30} "), outcome)
        self._progress.console.print(line)


@contextmanager
def reporter(console: Console | None) -> Iterator[Reporter]:
    """A reporter that shows a bar and the time left; silent without a console."""
    if console is None:
        yield Reporter()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        # Guesses of cost are rough: an average over the last minute puts them right.
        TimeRemainingColumn(),
    )
    tolerate(console.file)
    with Progress(*columns, console=console, speed_estimate_period=60.0) as progress:
        yield _Shown(progress)


def guessed(seconds: float) -> str:
    """A time that is guessed, as one would say it.

    Example:
        >>> [guessed(seconds) for seconds in (7, 80, 800, 9000)]
        ['less than a minute', 'about 2 minutes', 'about 14 minutes', 'about 2.5 hours']
    """
    minutes = math.ceil(seconds / 60)
    if minutes <= 1:
        return "less than a minute" if seconds < 45 else "about a minute"
    if minutes < 90:
        return f"about {minutes} minutes"
    return f"about {seconds / 3600:.1f} hours"
