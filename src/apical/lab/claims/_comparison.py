"""A comparison as a task of a claim, and what claims read off its records."""

from collections.abc import Callable
from typing import Any

from apical.lab._compare import compare
from apical.lab._data import Data
from apical.lab._folder import SETTINGS
from apical.lab._journal import Line
from apical.lab._outcome import Comparison
from apical.lab._summary import at_the_end
from apical.lab.claims._claim import Desk, Lines, Task
from apical.lab.claims._verdict import Effect, Where, effect

KEPT = (
    *("data", "model", "rule", "hyper_parameters", "optimizer", "learning_rate"),
    *("batch_size", "epochs", "seed", "epoch", "status", "message"),
    *("training_loss", "test_loss", "test_accuracy", "alignment"),
    *("seconds_per_step", "seconds_per_step_of_backpropagation"),
)
KEPT_OF_TRIALS = (
    *("data", "model", "rule", "trial", "seeds_of_trial", "learning_rate", "numbers"),
    *("status", "held_out_accuracy", "held_out_loss", "chosen"),
)


def comparison(
    name: str,
    arguments: Callable[[], dict[str, Any]],
    data: Callable[[Desk], Data] | None = None,
    by_layer: bool = False,
    **said: Any,
) -> Task:
    """A task that runs `apical.lab.compare`, and goes on where it was cut off.

    Its lines are followed by those of the trials, which have a `trial`.

    Args:
        name: of the task.
        arguments: gives the arguments of `compare`, when they are needed.
        data: gives the data where they are not named among the arguments.
        by_layer: whether lines have the alignment of each parameter as well.
        said: more columns, the same in every line.
    """

    def run(desk: Desk) -> list[Line]:
        made = {} if data is None else {"data": data(desk)}
        where = {"data_dir": desk.data_dir, "download": desk.download}
        result = compare(
            **{**where, **arguments(), **made},
            out=desk.folder,
            resume=(desk.folder / SETTINGS).exists(),
            report=False,
            console=desk.console,
        )
        more = _by_layer(result) if by_layer else {}
        lines = [
            {k: r[k] for k in KEPT} | said | more.get(_key(r), {})
            for r in result.records
        ]
        return lines + [{k: t[k] for k in KEPT_OF_TRIALS} | said for t in result.trials]

    return Task(name, run)


def _by_layer(result: Comparison) -> dict[tuple, Line]:
    found: dict[tuple, Line] = {}
    for line in result.layers:
        here = found.setdefault(_key(line), {"alignment_by_layer": {}})
        here["alignment_by_layer"][line["parameter"]] = line["alignment"]
    return found


def _key(line: Line) -> tuple:
    return line["model"], line["rule"], line["seed"], line["epoch"]


def last(lines: Lines, field: str = "test_accuracy", **where: Any) -> dict[int, float]:
    """A measure after the last epoch by seed, of the lines where these fields agree.

    A seed that diverged or was refused has none.
    """
    return at_the_end(
        [ln for ln in lines if all(ln.get(k) == v for k, v in where.items())], field
    )


def paired(
    what: str,
    lines: Lines,
    runs: tuple[Where, Where],
    margin: float,
    compared: int = 1,
    lost: float | None = None,
) -> Effect:
    """The difference of two runs' last accuracies (points), paired by seed.

    Args:
        what: what is compared with what.
        lines: of the claim.
        runs: the fields by which the lines of each run are known.
        margin: what counts as no difference, in points.
        compared: how many comparisons are made together.
        lost: the accuracy of a seed that diverged; None: it is left out.
    """
    mine, other = (_ended(lines, where, lost) for where in runs)
    return effect(what, mine, other, margin, compared, runs)


def _ended(lines: Lines, where: Where, lost: float | None) -> dict[int, float]:
    here = [ln for ln in lines if all(ln.get(k) == v for k, v in where.items())]
    every = {} if lost is None else {line["seed"]: lost for line in here}
    return every | percent(at_the_end(here, "test_accuracy"))


def percent(values: dict[int, float]) -> dict[int, float]:
    """Fractions as points."""
    return {seed: 100 * value for seed, value in values.items()}
