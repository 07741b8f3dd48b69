"""The ledger: all that a comparison has written down, and how far it has come.

| file            | one line for each                                    |
|-----------------|------------------------------------------------------|
| `records.jsonl` | model, rule, seed and epoch: losses, accuracy, times |
| `layers.jsonl`  | the same and parameter: alignment                    |
| `trials.jsonl`  | trial of a sweep                                     |
| `regimes.jsonl` | model and free predictive coding, first and last     |
| `costs.jsonl`   | model and rule: time, FLOPs, memory, depth           |
| `stages.jsonl`  | stage that has ended                                 |

Every line of a file has the same fields, numbers, words or null: a table.
"""

import math
from pathlib import Path
from typing import NamedTuple

from apical.lab._checkpoint import Checkpoint
from apical.lab._journal import Journal, Line

_JOURNALS = ("records", "layers", "regimes", "trials", "costs", "stages")
FILES = (*(f"{name}.jsonl" for name in _JOURNALS), "checkpoint")


PHASES = ("trials", "cost", "training")


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
        paths = {n: folder and folder / f"{n}.jsonl" for n in _JOURNALS}
        self.records = Journal(paths["records"])
        self.layers = Journal(paths["layers"])
        self.regimes = Journal(paths["regimes"])
        self.trials = Journal(paths["trials"])
        self.costs = Journal(paths["costs"])
        self._stages = Journal(paths["stages"])
        self.checkpoint = Checkpoint(folder and folder / "checkpoint")

    def done(self, stage: Stage) -> bool:
        """Whether the stage has ended."""
        written = [s for s in self._stages.lines if s["stage"] == stage.name]
        # A file that has lost lines since: the stage is done again.
        return bool(written) and written[-1]["lines"] == self._count(stage)

    def finish(self, stage: Stage) -> None:
        """The stage has ended: all its lines are written."""
        self._stages.write({"stage": stage.name, "lines": self._count(stage)})
        self.checkpoint.clear()

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

    def _count(self, stage: Stage) -> int:
        return sum(
            _is_of(stage, line)
            for journal in self._journals(stage)
            for line in journal.lines
        )


def _is_of(stage: Stage, line: Line) -> bool:
    return (line["model"], line["rule"]) == stage[1:]
