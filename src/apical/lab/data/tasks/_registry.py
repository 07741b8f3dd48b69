"""Tasks by name, with their arguments: `copy(delay=50)`."""

import inspect
from collections.abc import Callable

from apical.lab._call_syntax import NamedCall, parse_call
from apical.lab._errors import LabError, resolve_names
from apical.lab.data._dataset import Data
from apical.lab.data.tasks._adding import adding
from apical.lab.data.tasks._copying import copying
from apical.lab.data.tasks._evidence_accumulation import evidence_accumulation
from apical.lab.data.tasks._store_recall import store_recall
from apical.lab.data.tasks._yin_yang import yin_yang, yin_yang_spikes

TASKS: dict[str, Callable[..., Data]] = {
    "yin-yang": yin_yang,
    "yin-yang-spikes": yin_yang_spikes,
    "copy": copying,
    "adding": adding,
    "store-recall": store_recall,
    "evidence-accumulation": evidence_accumulation,
}
_EXAMPLE = "'copy(delay=50)'"


def task_name(text: str) -> str | None:
    """The name of the task in `copy(delay=50)`, for example; None if it is no task."""
    head, bracket, rest = text.strip().partition("(")
    head = head.strip().replace("_", "-")
    whole = not bracket or rest.endswith(")")  # `copy(1).npz` is a file
    return head if whole and head in TASKS else None


def draw(text: str) -> Data:
    """Draw the data of a task.

    Args:
        text: the name of a task, with arguments if wanted: `copy(delay=50)`.

    Returns:
        The data, named by the text.

    Raises:
        LabError: for an unknown or invalid argument.

    Example:
        >>> data = draw("copy(delay=3, length=2, train=10, test=5)")
        >>> data.shape, data.classes, data.train_y[0, :5].tolist()
        ((7, 10), 8, [-1, -1, -1, -1, -1])
    """
    call = parse_call(text, "--data", _EXAMPLE)
    (name,) = resolve_names("task", [call.name], TASKS)
    make = TASKS[name]
    there_are = list(inspect.signature(make).parameters)
    if call.arguments:
        resolve_names(f"argument of {name}", call.arguments, there_are)
    try:
        data = make(**call.arguments)
    except MemoryError as error:
        raise LabError(f"--data {text} does not fit into memory") from error
    return data._replace(name=str(NamedCall(name, call.arguments)))
