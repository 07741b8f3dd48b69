"""The protocol of engines, and the messages that their workers send.

A task is a rule on a model: its trials, its cost and the training of all its seeds. A
worker computes it without touching the output folder, and sends the lines of every
stage that has ended; one process, the driver, writes them. Runs that share a compiled
call stay together, so that the numbers are those of a local run.
"""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from apical.lab.run._plan import Plan
from apical.lab.storage._jsonl import Line
from apical.lab.storage._results import Stage

Lines = dict[str, list[Line]]  # of a stage, by table


class RuleTask(NamedTuple):
    """A rule on a model, and the stages of it that have ended, with their lines."""

    model: str
    rule: str
    ended: list[tuple[Stage, Lines]]


# ---- Messages of a task, in the order in which they come


class Started(NamedTuple):
    """A worker has begun with the task."""

    node: str


class Steps(NamedTuple):
    """Training steps have been made: so many since the last message of this kind."""

    number: int


class EpochEnded(NamedTuple):
    """An epoch of training has ended; sent where callbacks are to be called.

    Attributes:
        records: its lines in `records.jsonl`.
        layers: its lines in `layers.jsonl`.
        trained: the arrays of the model of each seed, in the order of its leaves.
    """

    records: list[Line]
    layers: list[Line]
    trained: list[list[Any]]


class StageEnded(NamedTuple):
    """A stage has ended, with these lines."""

    stage: Stage
    lines: Lines


class Ended(NamedTuple):
    """The task has ended: so have all its stages."""


class Failed(NamedTuple):
    """The task has raised an error, and would raise it again.

    Attributes:
        node: where.
        message: of the error.
        traceback: as printed; None where the message says what to do.
    """

    node: str
    message: str
    traceback: str | None


class Lost(NamedTuple):
    """The worker has ended without a result; the task can be given to another."""

    reason: str


Message = Started | Steps | EpochEnded | StageEnded | Ended | Failed | Lost


# ---- What an engine does


class Workers(ABC):
    """The processes that an engine trains in, while it is connected."""

    @abstractmethod
    def environment(self) -> Line:
        """Versions of packages, operating system and device of a worker."""

    @abstractmethod
    def begin(self, plan: Plan, follow: bool, resume: bool) -> None:
        """Get ready for the tasks of a plan.

        Args:
            plan: what every task is a part of.
            follow: whether workers send the epochs.
            resume: whether earlier work on the same plan may be used.
        """

    @abstractmethod
    def submit(self, tasks: dict[int, RuleTask]) -> None:
        """Hand out tasks by number; a task that was lost comes again."""

    @abstractmethod
    def receive(self) -> tuple[int, Message]:
        """Wait for the next message, and the number of its task.

        Raises:
            LabError: if none can come any more.
        """

    @abstractmethod
    def cancel(self) -> None:
        """End what runs, and drop what waits."""


class Engine(ABC):
    """Where the rules of a comparison are trained."""

    retries: int

    @abstractmethod
    def connected(self, folder: Path | None) -> AbstractContextManager[Workers]:
        """Connect, and at the end disconnect.

        Args:
            folder: the output folder of the comparison.
        """
