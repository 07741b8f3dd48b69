"""Data types of a claim: its tasks, its published figures, and its outcome."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from matplotlib.figure import Figure
from rich.console import Console

from apical.claims._verdict import Verdict
from apical.lab.storage._jsonl import Line

Scale = Literal["full", "quick", "smoke"]
SCALES: tuple[Scale, ...] = ("full", "quick", "smoke")
Lines = Sequence[Line]


class Published(NamedTuple):
    """A published figure, and its source.

    Attributes:
        what: what was measured, with its set-up.
        value: the figure, in words: `"2.4 % error"`, `"figure only"`.
        source: where it was read.
        measured: computes the measured figure that is shown next to it from the lines
            of the claim; None: nothing of the same kind is measured.
    """

    what: str
    value: str
    source: str
    measured: Callable[[Sequence[Line]], str] | None = None


class TaskContext(NamedTuple):
    """Where a task runs: its folder, its data and its console.

    Attributes:
        folder: of the task; its files stay there, so that the task can be resumed.
        data_dir: where the files of data sets are, or None.
        download: whether missing files are fetched.
        console: where to show progress, or None.
    """

    folder: Path
    data_dir: Path | None = None
    download: bool = False
    console: Console | None = None


class Task(NamedTuple):
    """A part of a claim's experiment that is run or resumed as a whole.

    Attributes:
        name: of the task; every line has it as `task`.
        run: runs it and returns its lines.
        shared: whether all claims use one folder for tasks of this name, so that the
            work of one claim is not repeated by another.
    """

    name: str
    run: Callable[[TaskContext], Iterable[Line]]
    shared: bool = False


class EarlierSetup(NamedTuple):
    """How the kept run of a claim was made, where its set-up has changed since.

    Attributes:
        work: what was run, and why it is to be run again.
        trials: of each rule, as in `Claim`.
        seeds: of that run, by which its lines are known where trials leave none; None:
            its lines are without trials, and those of the present work are not.
    """

    work: str
    trials: int | None = None
    seeds: int | None = None

    def made(self, lines: Lines, trials: Lines) -> bool:
        """Whether these lines are of that run."""
        if self.seeds is None:
            return not trials
        return len({line["seed"] for line in lines}) == self.seeds


@dataclass(frozen=True)
class Claim:
    """A published statement, with the experiment that tests it.

    Attributes:
        id: its name on the command line.
        sentence: the statement.
        source: authors and publication.
        work: what is run, at full scale: model, data, budget, seeds.
        published: the published figures.
        differences: what differs from the published set-up, and why.
        rule: how the verdict follows from the numbers, as text.
        remaining: how the results differ from the published ones, and possible reasons.
        trials: of each rule at full scale; 0: all rules run at one given step size;
            None: each runs at the numbers that its source gives, or there is nothing
            to tune.
        margin: why a margin is not 0.5 points (MNIST and similar data) or 1 point
            (CIFAR-10, text).
        corrected: what was wrong with an earlier rule, if there was one.
        earlier_setup: how the kept run was made, if the work has changed since; to be
            removed when a run of the present work is kept.
        hours: about how long the full run takes on two cores.
        tasks: the tasks at a scale.
        judge: the verdict from the lines of all tasks.
        draw: the picture from the same lines.
        data: the data sets whose files it needs.
        paper: the name under which `apical reproduce` runs it.
    """

    id: str
    sentence: str
    source: str
    work: str
    published: tuple[Published, ...]
    differences: str
    rule: str
    hours: float
    tasks: Callable[[Scale], Iterable[Task]]
    judge: Callable[[Lines], Verdict]
    draw: Callable[[Lines], Figure]
    data: tuple[str, ...] = ()
    paper: str = ""
    remaining: str = ""
    trials: int | None = None
    margin: str = ""
    corrected: str = ""
    earlier_setup: EarlierSetup | None = None

    def trials_in(self, lines: Lines, trials: Lines) -> int | None:
        """The trials of each rule in a run, which may be of the earlier set-up."""
        before = self.earlier_setup
        if before is not None and before.made(lines, trials):
            return before.trials
        return self.trials


class Earlier(NamedTuple):
    """A verdict on the same records by an earlier rule, corrected since."""

    claim: str
    verdict: str
    because: str
    rule: str


@dataclass(frozen=True)
class Outcome:
    """The outcome of a claim: its scale, its lines and the verdict.

    Attributes:
        claim: what was run.
        scale: the size of the run.
        lines: what was measured.
        verdict: of the claim, from the lines.
        trials: of sweeps; none where they were not kept.
        earlier: verdicts by earlier rules, corrected since.
    """

    claim: Claim
    scale: Scale
    lines: Lines
    verdict: Verdict
    trials: Lines = ()
    earlier: tuple[Earlier, ...] = ()
