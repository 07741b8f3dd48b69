"""What a claim is: a sentence of the literature made an experiment with a verdict."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from matplotlib.figure import Figure
from rich.console import Console

from apical.lab._journal import Line
from apical.lab.claims._verdict import Verdict

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


class Desk(NamedTuple):
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
    run: Callable[[Desk], Iterable[Line]]
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

    @property
    def told(self) -> dict[str, Any]:
        """What a reader is shown of it before it runs."""
        return {
            "claim": self.sentence,
            "source": self.source,
            "work": self.work,
            "differences": self.differences,
            "verdict": self.rule,
            "takes": f"about {self.hours:g} h on two cores",
        }


@dataclass(frozen=True)
class Outcome:
    """A claim that was run: at which scale, its lines, and what they say."""

    claim: Claim
    scale: Scale
    lines: Lines
    verdict: Verdict
