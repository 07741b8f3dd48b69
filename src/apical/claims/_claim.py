"""What a claim is: a sentence of the literature made an experiment with a verdict."""

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
    """A published figure, and where it stands.

    Attributes:
        what: what was measured, with its set-up.
        value: the figure, in words: `"2.4 % error"`, `"figure only"`.
        source: where it was read.
        measured: from the lines of the claim, what stands beside it; None: nothing
            that we measure is of the same kind.
    """

    what: str
    value: str
    source: str
    measured: Callable[[Sequence[Line]], str] | None = None


class TaskContext(NamedTuple):
    """What a task is given to work with.

    Attributes:
        folder: its own folder; what it keeps there it finds again when it goes on.
        data_dir: where files of data sets are, or None.
        download: whether files that are not there are fetched.
        console: where to show progress, or None.
    """

    folder: Path
    data_dir: Path | None = None
    download: bool = False
    console: Console | None = None


class Task(NamedTuple):
    """A part of a claim's work, done as a whole.

    Attributes:
        name: of the task; every line has it.
        run: gives its lines.
        shared: whether its folder is that of all tasks of this name: what one claim has
            done there, another finds.
    """

    name: str
    run: Callable[[TaskContext], Iterable[Line]]
    shared: bool = False


@dataclass(frozen=True)
class Claim:
    """A claim, as one file.

    Attributes:
        id: its name on the command line.
        sentence: what has been said.
        source: by whom and where.
        work: what is run, at full scale: model, data, budget, seeds.
        published: the figures to set beside ours.
        differences: what differs from the published set-up, and why.
        rule: in words, how the verdict follows from the numbers.
        remaining: how the full run differs from what was published, and why it may.
        trials: how many each rule is given at full scale to find its numbers in; 0: all
            rules run at one step size that was given; None: each at the numbers that
            its source gives, or there is nothing to tune.
        margin: why a margin is not 0.5 points (MNIST and what is like it) or 1 point
            (CIFAR-10, text).
        corrected: what was wrong with an earlier rule, where there was one.
        hours: about how long the full form takes on two cores.
        tasks: the work at a scale.
        judge: the verdict from the lines of all tasks.
        draw: the picture.
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


class Earlier(NamedTuple):
    """A verdict on the same records by a rule that was corrected since."""

    claim: str
    verdict: str
    because: str
    rule: str


@dataclass(frozen=True)
class Outcome:
    """A claim that was run: at which scale, its lines, and what they say.

    Attributes:
        claim: what was run.
        scale: how much of it.
        lines: what was measured.
        verdict: what they say.
        trials: the trials of sweeps; none where they were not kept.
        earlier: verdicts by rules that were corrected since.
    """

    claim: Claim
    scale: Scale
    lines: Lines
    verdict: Verdict
    trials: Lines = ()
    earlier: tuple[Earlier, ...] = ()
