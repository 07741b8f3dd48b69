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

KEPT = (
    *("data", "model", "rule", "hyper_parameters", "optimizer", "learning_rate"),
    *("batch_size", "epochs", "seed", "epoch", "status", "message"),
    *("training_loss", "test_loss", "test_accuracy", "alignment"),
    *("seconds_per_step", "seconds_per_step_of_backpropagation"),
)


def comparison(
    name: str,
    arguments: Callable[[], dict[str, Any]],
    data: Callable[[Desk], Data] | None = None,
    by_layer: bool = False,
    **said: Any,
) -> Task:
    """A task that runs `apical.lab.compare`, and goes on where it was cut off.

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
        return [
            {k: r[k] for k in KEPT} | said | more.get(_key(r), {})
            for r in result.records
        ]

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


def percent(values: dict[int, float]) -> dict[int, float]:
    """Fractions as points."""
    return {seed: 100 * value for seed, value in values.items()}
