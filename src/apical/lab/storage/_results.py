"""The result store: the files of a comparison, and which stages have ended.

| file            | one line for each                                    |
|-----------------|------------------------------------------------------|
| `records.jsonl` | model, rule, seed and epoch: losses, accuracy, times |
| `layers.jsonl`  | the same and parameter: alignment                    |
| `trials.jsonl`  | trial of a sweep                                     |
| `regimes.jsonl` | model and free predictive coding, first and last     |
| `costs.jsonl`   | model and rule: time, FLOPs, memory, depth           |
| `stages.jsonl`  | stage that has ended                                 |

Every line of a file has the same fields, so that each file is a table. A line repeats
the settings that it was made with, and is refused in a comparison with other settings.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from apical.lab._errors import LabError
from apical.lab.storage._checkpoint import Checkpoint
from apical.lab.storage._checksums import digest
from apical.lab.storage._jsonl import JsonLines, Line

_TABLES = ("records", "layers", "regimes", "trials", "costs", "stages")
FILES = (*(f"{name}.jsonl" for name in _TABLES), "checkpoint")
PHASES = ("trials", "cost", "training")
_REMEDY = (
    "Restore the files as they were written, or start again in another folder (--out)"
)


class Stage(NamedTuple):
    """A part of a comparison: it is done once, and resumed where it was interrupted."""

    phase: str  # one of `PHASES`
    model: str
    rule: str

    @property
    def name(self) -> str:
        """Its name in `stages.jsonl` and in the checkpoint."""
        return f"{self.phase} of {self.rule} on {self.model}"


class ResultStore:
    """The tables and the checkpoint of a comparison.

    Args:
        folder: where the files are. None: results stay in memory.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        tables = (
            JsonLines(folder and folder / f"{name}.jsonl", strict=True)
            for name in _TABLES
        )
        self.records, self.layers, self.regimes, *others = tables
        self.trials, self.costs, self._stages = others
        self.checkpoint = Checkpoint(folder and folder / "checkpoint")

    def done(self, stage: Stage) -> bool:
        """Whether the stage has ended."""
        written = [s for s in self._stages.lines if s["stage"] == stage.name]
        # If a file has lost lines since, the stage is repeated.
        return bool(written) and written[-1]["digest"] == self.digest(stage)

    def finish(self, stage: Stage) -> None:
        """Note that the stage has ended: all its lines are written."""
        self._stages.write({"stage": stage.name, "digest": self.digest(stage)})
        self.checkpoint.clear()

    def lines_of(self, stage: Stage) -> dict[str, list[Line]]:
        """The lines that the stage has written, by table."""
        return {
            name: [line for line in table.lines if _is_of(stage, line)]
            for name, table in self._tables(stage).items()
        }

    def replace(self, stage: Stage, lines: dict[str, list[Line]]) -> None:
        """Write the lines of a stage that has ended elsewhere, by table."""
        self.drop(stage)
        for name, table in self._tables(stage).items():
            table.write(*lines[name])
        self.finish(stage)

    def sort(self, settings: Line) -> None:
        """Put models and rules in the order of the settings, as one process does."""
        models, rules = settings["models"], settings["rules"]
        stages = {
            Stage(phase, model, rule).name: (i, j, k)
            for i, model in enumerate(models)
            for j, rule in enumerate(rules)
            for k, phase in enumerate(PHASES)
        }
        self._stages.sort(lambda line: stages[line["stage"]])
        for table in self._all():
            table.sort(
                lambda line: (models.index(line["model"]), rules.index(line["rule"]))
            )

    def digest(self, stage: Stage) -> str:
        """A checksum of the lines that the stage has written."""
        return digest(n for mine in self.lines_of(stage).values() for n in mine)

    def require_runs(self, settings: Line) -> None:
        """Refuse lines of a model or a rule that is not in these settings."""
        for table in self._all():
            require_runs(table.lines, settings, str(table.path))

    def require_same(self, stage: Stage, expected: Line) -> None:
        """Refuse lines of a stage that were made with other settings."""
        for name, table in self._tables(stage).items():
            require_same(self.lines_of(stage)[name], expected, str(table.path))

    def drop(self, stage: Stage, from_epoch: int = 0) -> None:
        """Remove the lines of a stage from this epoch on, so that it can be repeated.

        Lines without an epoch are written at the end of a stage, and are removed too.
        """
        for table in self._tables(stage).values():
            table.keep(
                lambda line: (
                    not _is_of(stage, line) or line.get("epoch", math.inf) < from_epoch
                )
            )

    def _tables(self, stage: Stage) -> dict[str, JsonLines]:
        names = {
            "trials": ("trials",),
            "cost": ("costs",),
            "training": ("records", "layers", "regimes"),
        }[stage.phase]
        return {name: getattr(self, name) for name in names}

    def _all(self) -> tuple[JsonLines, ...]:
        return self.records, self.layers, self.regimes, self.trials, self.costs


def require_runs(lines: Iterable[Line], settings: Line, where: str) -> None:
    """Refuse lines of a model or a rule that is not in these settings."""
    for line in lines:
        model, rule = line.get("model"), line.get("rule")
        if model not in settings["models"] or rule not in settings["rules"]:
            raise LabError(
                f"{where} has a line of {rule} on {model}, which is not part of this "
                f"comparison. {_REMEDY}"
            )


def require_same(lines: Iterable[Line], expected: Line, where: str) -> None:
    """Refuse lines that have one of these fields with another value."""
    for line in lines:
        for name, value in expected.items():
            if name in line and line[name] != value:
                raise LabError(
                    f"{where}: a line of {line.get('rule')} on {line.get('model')} was "
                    f"made with {name} = {line[name]!r}, and this comparison has "
                    f"{value!r}: the results would not belong to one comparison. "
                    f"{_REMEDY}"
                )


def _is_of(stage: Stage, line: Line) -> bool:
    return (line.get("model"), line.get("rule")) == stage[1:]
