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

    def expect(self, seconds: float, runs: int, timed: bool = True) -> None:
        """Announce the number of runs that are left and their estimated time.

        Args:
            seconds: the sum over the runs.
            runs: how many.
            timed: whether these are seconds; if not, they are in proportion to them.
        """

    def begin(self, label: str, seconds: float = 0.0, steps: int = 1) -> None:
        """Start a run, perhaps beside others, or start it again.

        Args:
            label: names the run.
            seconds: its estimated time.
            steps: its number of training steps.
        """

    def steps(self, label: str, number: int) -> None:
        """Note that this many training steps of a run have been made."""

    def end(self, label: str, outcome: Text) -> None:
        """End the run."""

    def note(self, words: str) -> None:
        """Show a sentence, which stays."""

    def describe(self, words: str) -> None:
        """Say what is being done."""


class _Run:
    """A run that is shown: its estimated time, and how much of it has passed."""

    def __init__(self, seconds: float, steps: int):
        self.seconds, self.per_step, self.passed = seconds, seconds / steps, 0.0


class _ProgressBar(ProgressReporter):
    def __init__(self, progress: Progress):
        self._progress = progress
        self._task = progress.add_task("", total=None)
        self._runs: dict[str, _Run] = {}

    def expect(self, seconds: float, runs: int, timed: bool = True) -> None:
        self._progress.update(self._task, total=seconds)
        if runs:
            words = f"{runs} {'run' if runs == 1 else 'runs'} to do"
            self.note(f"{words}: {duration(seconds)}" if timed else words)
        else:
            done = {"description": "nothing left to do", "total": 1, "completed": 1}
            self._progress.update(self._task, **done)

    def begin(self, label: str, seconds: float = 0.0, steps: int = 1) -> None:
        if label in self._runs:
            self._advance(label, -self._runs[label].passed)
        self._runs[label] = _Run(seconds, steps)
        self._describe_runs()

    def steps(self, label: str, number: int) -> None:
        self._advance(label, number * self._runs[label].per_step)

    def end(self, label: str, outcome: Text) -> None:
        if label in self._runs:  # it had not ended before
            run = self._runs[label]
            self._advance(label, run.seconds - run.passed)
            del self._runs[label]
        line = Text.assemble(as_text(f"{label:<30} "), outcome)
        self._progress.console.print(line)
        if self._runs:
            self._describe_runs()

    def note(self, words: str) -> None:
        print_text(self._progress.console, words)

    def _advance(self, label: str, seconds: float) -> None:
        self._runs[label].passed += seconds
        self._progress.advance(self._task, seconds)

    def describe(self, words: str) -> None:
        self._progress.update(self._task, description=as_text(words).plain)

    def _describe_runs(self) -> None:
        one = len(self._runs) == 1
        number = f"{len(self._runs)} runs at a time"
        self.describe(next(iter(self._runs)) if one else number)


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
