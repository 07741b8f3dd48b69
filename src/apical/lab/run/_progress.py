"""The progress bar of a comparison, with elapsed and remaining time."""

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

from apical.lab.report._terminal import as_text, print_text, replace_unencodable


class ProgressReporter:
    """Receives the progress of a comparison; this one shows nothing."""

    def expect(self, seconds: float, runs: int) -> None:
        """Announce the number of runs that are left and their estimated time."""

    def begin(self, label: str, seconds: float = 0.0, steps: int = 1) -> None:
        """Start a run with this estimated time and number of training steps."""

    def steps(self, number: int) -> None:
        """Note that this many training steps have been made."""

    def end(self, label: str, outcome: Text) -> None:
        """End the run."""


class _ProgressBar(ProgressReporter):
    def __init__(self, progress: Progress):
        self._progress = progress
        self._task = progress.add_task("", total=None)
        self._due, self._per_step = 0.0, 0.0

    def expect(self, seconds: float, runs: int) -> None:
        self._progress.update(self._task, total=seconds)
        if runs:
            words = (
                f"{runs} {'run' if runs == 1 else 'runs'} to do: {duration(seconds)}"
            )
            print_text(self._progress.console, words)
        else:
            done = {"description": "nothing left to do", "total": 1, "completed": 1}
            self._progress.update(self._task, **done)

    def begin(self, label: str, seconds: float = 0.0, steps: int = 1) -> None:
        self._due, self._per_step = seconds, seconds / steps
        self._progress.update(self._task, description=as_text(label).plain)

    def steps(self, number: int) -> None:
        self._due -= number * self._per_step
        self._progress.advance(self._task, number * self._per_step)

    def end(self, label: str, outcome: Text) -> None:
        self._progress.advance(self._task, self._due)
        self._due = 0.0
        line = Text.assemble(as_text(f"{label:<30} "), outcome)
        self._progress.console.print(line)


@contextmanager
def progress_bar(console: Console | None) -> Iterator[ProgressReporter]:
    """A reporter that shows a bar and the remaining time; silent without a console."""
    if console is None:
        yield ProgressReporter()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        # Cost estimates are rough: averaging over the last minute corrects them.
        TimeRemainingColumn(),
    )
    replace_unencodable(console.file)
    with Progress(*columns, console=console, speed_estimate_period=60.0) as progress:
        yield _ProgressBar(progress)


def duration(seconds: float) -> str:
    """An estimated duration in words.

    Example:
        >>> [duration(seconds) for seconds in (7, 80, 800, 9000)]
        ['less than a minute', 'about 2 minutes', 'about 14 minutes', 'about 2.5 hours']
    """
    minutes = math.ceil(seconds / 60)
    if minutes <= 1:
        return "less than a minute" if seconds < 45 else "about a minute"
    if minutes < 90:
        return f"about {minutes} minutes"
    return f"about {seconds / 3600:.1f} hours"
