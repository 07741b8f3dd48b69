"""Comparisons of rules as tasks of a claim, and their sizes by scale."""

from collections.abc import Callable
from typing import Any, NamedTuple

from apical import rules
from apical.claims._claim import Task, TaskContext
from apical.lab._compare import compare
from apical.lab._comparison_result import Comparison
from apical.lab._control_rules import UntrainedHiddenLayers
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.data._load import Data
from apical.lab.storage._jsonl import Line
from apical.lab.storage._output_dir import SETTINGS

# ---- Sizes


class Size(NamedTuple):
    """The size of a comparison.

    Attributes:
        data: the name of the data set.
        trained: training examples; None: all.
        tested: test examples; None: all.
        width: of each hidden layer.
        epochs: of each run.
        seeds: of the reported runs.
        sweep: trials of each rule; 0: the step size below.
        rate: the step size where there is no sweep.
    """

    data: str
    trained: int | None
    tested: int | None
    width: int
    epochs: int
    seeds: int
    sweep: int
    rate: float | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """These numbers as arguments of `apical.lab.compare`."""
        return {
            "epochs": self.epochs,
            "seeds": self.seeds,
            "sweep": self.sweep,
            "learning_rate": self.rate,
        }


def baseline_and_control() -> dict[str, rules.Rule]:
    """The rules that every other rule is compared with."""
    return {BASELINE: rules.Backpropagation(), CONTROL: UntrainedHiddenLayers()}


# ---- A comparison as a task

RECORD_FIELDS = (
    *("data", "model", "rule", "hyper_parameters", "optimizer", "learning_rate"),
    *("batch_size", "epochs", "seed", "epoch", "status", "message"),
    *("training_loss", "test_loss", "test_accuracy", "alignment"),
    *("seconds_per_step", "seconds_per_step_of_backpropagation"),
)
TRIAL_FIELDS = (
    *("data", "model", "rule", "trial", "seeds_of_trial", "learning_rate", "numbers"),
    *("status", "held_out_accuracy", "held_out_loss", "chosen"),
)


def comparison_task(
    name: str,
    arguments: Callable[[], dict[str, Any]],
    data: Callable[[TaskContext], Data] | None = None,
    by_layer: bool = False,
    **columns: Any,
) -> Task:
    """A task that runs `apical.lab.compare`, and resumes it after an interruption.

    The lines of the trials, which have the field `trial`, follow those of the runs.

    Args:
        name: of the task.
        arguments: returns the arguments of `compare`; called when the task runs.
        data: loads the data, where the arguments do not name them.
        by_layer: whether lines have the alignment of each parameter as well.
        columns: more fields, the same in every line.
    """

    def run(context: TaskContext) -> list[Line]:
        loaded = {} if data is None else {"data": data(context)}
        where = {"data_dir": context.data_dir, "download": context.download}
        result = compare(
            **{**where, **arguments(), **loaded},
            out=context.folder,
            resume=(context.folder / SETTINGS).exists(),
            report=False,
            console=context.console,
        )
        more = _by_layer(result) if by_layer else {}
        runs = [
            {k: line[k] for k in RECORD_FIELDS} | columns | more.get(_key(line), {})
            for line in result.records
        ]
        trials = [
            {k: line[k] for k in TRIAL_FIELDS} | columns for line in result.trials
        ]
        return runs + trials

    return Task(name, run)


def _by_layer(result: Comparison) -> dict[tuple, Line]:
    found: dict[tuple, Line] = {}
    for line in result.layers:
        here = found.setdefault(_key(line), {"alignment_by_layer": {}})
        here["alignment_by_layer"][line["parameter"]] = line["alignment"]
    return found


def _key(line: Line) -> tuple:
    return line["model"], line["rule"], line["seed"], line["epoch"]
