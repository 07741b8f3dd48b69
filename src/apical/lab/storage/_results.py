"""The ledger: all that a comparison has written down, and how far it has come.

| file            | one line for each                                    |
|-----------------|------------------------------------------------------|
| `records.jsonl` | model, rule, seed and epoch: losses, accuracy, times |
| `layers.jsonl`  | the same and parameter: alignment                    |
| `trials.jsonl`  | trial of a sweep                                     |
| `regimes.jsonl` | model and free predictive coding, first and last     |
| `costs.jsonl`   | model and rule: time, FLOPs, memory, depth           |
| `stages.jsonl`  | stage that has ended                                 |

Every line of a file has the same fields, numbers, words or null: a table. Each says the
setting it was made with, and is refused in a comparison that has another.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from apical.lab._errors import LabError
from apical.lab.storage._checkpoint import Checkpoint
from apical.lab.storage._checksums import digest
from apical.lab.storage._jsonl import Journal, Line

_JOURNALS = ("records", "layers", "regimes", "trials", "costs", "stages")
FILES = (*(f"{name}.jsonl" for name in _JOURNALS), "checkpoint")
PHASES = ("trials", "cost", "training")
_REMEDY = (
    "Put the files back as they were written, or begin anew in another folder (--out)"
)


class Stage(NamedTuple):
    """A part of a comparison that is done as a whole, or gone on with."""

    phase: str  # one of `PHASES`
    model: str
    rule: str

    @property
    def name(self) -> str:
        """Its name in `stages.jsonl` and in the checkpoint."""
        return f"{self.phase} of {self.rule} on {self.model}"


class Ledger:
    """The journals and the checkpoint of a comparison.

    Args:
        folder: where they are. None: in memory alone.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        journals = (
            Journal(folder and folder / f"{name}.jsonl", strict=True)
            for name in _JOURNALS
        )
        self.records, self.layers, self.regimes, *others = journals
        self.trials, self.costs, self._stages = others
        self.checkpoint = Checkpoint(folder and folder / "checkpoint")

    def done(self, stage: Stage) -> bool:
        """Whether the stage has ended."""
        written = [s for s in self._stages.lines if s["stage"] == stage.name]
        # A file that has lost lines since: the stage is done again.
        return bool(written) and written[-1]["digest"] == self.digest(stage)

    def finish(self, stage: Stage) -> None:
        """The stage has ended: all its lines are written."""
        self._stages.write({"stage": stage.name, "digest": self.digest(stage)})
        self.checkpoint.clear()

    def digest(self, stage: Stage) -> str:
        """A checksum of the lines that the stage has written."""
        journals = self._journals(stage)
        return digest(n for j in journals for n in j.lines if _is_of(stage, n))

    def require_runs(self, settings: Line) -> None:
        """Refuse lines of a model or a rule that these settings do not name."""
        for journal in self._all():
            require_runs(journal.lines, settings, str(journal.path))

    def require_said(self, stage: Stage, said: Line) -> None:
        """Refuse lines of a stage that were made with another setting than this."""
        for journal in self._journals(stage):
            mine = (line for line in journal.lines if _is_of(stage, line))
            require_said(mine, said, str(journal.path))

    def drop(self, stage: Stage, from_epoch: int = 0) -> None:
        """Take back the lines of a stage from this epoch on: they are made again.

        Lines that are of no epoch are made at its end, and go in any case.
        """
        for journal in self._journals(stage):
            journal.keep(
                lambda line: (
                    not _is_of(stage, line) or line.get("epoch", math.inf) < from_epoch
                )
            )

    def _journals(self, stage: Stage) -> tuple[Journal, ...]:
        return {
            "trials": (self.trials,),
            "cost": (self.costs,),
            "training": (self.records, self.layers, self.regimes),
        }[stage.phase]

    def _all(self) -> tuple[Journal, ...]:
        return self.records, self.layers, self.regimes, self.trials, self.costs


def require_runs(lines: Iterable[Line], settings: Line, where: str) -> None:
    """Refuse lines of a model or a rule that these settings do not name."""
    for line in lines:
        model, rule = line.get("model"), line.get("rule")
        if model not in settings["models"] or rule not in settings["rules"]:
            raise LabError(
                f"{where} has a line of {rule} on {model}, which is not of this "
                f"comparison. {_REMEDY}"
            )


def require_said(lines: Iterable[Line], said: Line, where: str) -> None:
    """Refuse lines that say something else, of all that lines of their kind say."""
    for line in lines:
        for name, value in said.items():
            if name in line and line[name] != value:
                raise LabError(
                    f"{where}: a line of {line.get('rule')} on {line.get('model')} was "
                    f"made with {name} = {line[name]!r}, and this comparison has "
                    f"{value!r}: its numbers would not be those of one comparison. "
                    f"{_REMEDY}"
                )


def _is_of(stage: Stage, line: Line) -> bool:
    return (line.get("model"), line.get("rule")) == stage[1:]
