"""The worker's side of an engine: one rule on one model, computed in this process."""

import pickle
import platform
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from apical.lab._errors import LabError
from apical.lab.engines._engine import (
    Ended,
    EpochEnded,
    Failed,
    Message,
    RuleTask,
    StageEnded,
    Started,
    Steps,
)
from apical.lab.run._callbacks import EpochEvent
from apical.lab.run._plan import Plan, sources
from apical.lab.run._progress import ProgressReporter
from apical.lab.run._records import environment
from apical.lab.run._runner import ModelRunner
from apical.lab.storage._results import ResultStore, Stage

Send = Callable[[Message], None]

# What of JAX's configuration changes numbers, and is the driver's in every worker.
_SETTINGS = (
    *("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl"),
    *("jax_threefry_partitionable", "jax_disable_most_optimizations"),
    *("jax_numpy_dtype_promotion", "jax_numpy_rank_promotion"),
)


class Payload(NamedTuple):
    """What all tasks of a comparison share.

    Attributes:
        key: different for every payload.
        plan: the pickled plan.
        paths: where the driver imports modules from.
        settings: of JAX, by name.
        follow: whether epochs are sent.
    """

    key: str
    plan: bytes
    paths: list[str]
    settings: dict[str, Any]
    follow: bool


def pack(plan: Plan, follow: bool, dumps: Callable[[Any], bytes]) -> Payload:
    """The payload of a plan.

    Args:
        plan: the plan.
        follow: whether epochs are sent.
        dumps: of a package that pickles functions, too.

    Raises:
        LabError: for a rule or a model that another process cannot import, or what
            cannot be pickled.
    """
    made = {f"rules: {n}": type(spec.make()) for n, spec in plan.specs.items()}
    made |= {f"models: {n}": model.build for n, model in plan.models.items()}
    for name, origin in made.items():
        if getattr(origin, "__module__", None) == "__main__":
            raise LabError(
                f"{name} is made by {origin.__name__}, which was defined in this "
                "script or notebook, so that other processes cannot import it: move "
                "it to a module"
            )
    try:
        body = dumps(plan)
    except Exception as error:
        raise LabError(
            "data, models and rules cannot be sent to other processes "
            f"({type(error).__name__}: {error}): make them in a module, and name them "
            "as module:attribute"
        ) from error
    settings = {name: jax.config.values[name] for name in _SETTINGS}
    return Payload(uuid.uuid4().hex, body, list(sys.path), settings, follow)


def work(
    payload: Payload, task: RuleTask, send: Send, folder: Path | None = None
) -> None:
    """Do a task. An error of any kind is sent, not raised.

    Args:
        payload: of the comparison.
        task: the rule and the model.
        send: takes the messages.
        folder: keeps lines and a checkpoint, for the next process that does this task.
    """
    node = platform.node()
    send(Started(node))
    try:
        runner, plan = _runner_of(payload, task.model)
        store = _SendingStore(folder, task.ended, send)
        store.send_again(runner.stages(task.rule))
        runner.store = store
        runner.callbacks = [_sending(send)] if payload.follow else []
        reporter = _SendingReporter(send)
        runner.run(task.rule, plan.specs[task.rule], 0.0, reporter)
        reporter.flush()
        send(Ended())
    except LabError as error:
        send(Failed(node, str(error), None))
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        send(Failed(node, message, traceback.format_exc()))


# Of the last model that this process worked on: its compiled backpropagation serves
# every rule.
_runners: dict[tuple[str, str], tuple[ModelRunner, Plan]] = {}


def _runner_of(payload: Payload, model: str) -> tuple[ModelRunner, Plan]:
    key = payload.key, model
    if key not in _runners:
        _runners.clear()
        plan = _unpacked(payload)
        runners = {r.config.model_name: r for r in plan.runners(ResultStore(None))}
        _runners[key] = runners[model], plan
    return _runners[key]


def _unpacked(payload: Payload) -> Plan:
    sys.path += [path for path in payload.paths if path not in sys.path]
    for name, value in payload.settings.items():
        jax.config.update(name, value)
    try:
        plan: Plan = pickle.loads(payload.plan)
    except ImportError as error:
        raise LabError(
            f"{error}: models and rules are imported on every node. Put the module in "
            "a folder that all nodes share and start there, or install it on every node"
        ) from error
    mine, there = environment(), plan.settings
    for name, value in mine.items():
        if value != there[name]:
            raise LabError(
                f"this node has {name} = {value!r}, and the comparison "
                f"{there[name]!r}: its results would not belong to one comparison. "
                "Install the same versions on every node, and use nodes of one kind"
            )
    found = sources([*plan.models, *plan.specs]).get("sources")
    if found != there.get("sources"):
        raise LabError(
            f"the modules of models and rules are {found} on this node, and "
            f"{there.get('sources')} where the comparison was started: install the "
            "same version on every node"
        )
    return plan


class _SendingStore(ResultStore):
    """Sends the lines of a stage as soon as it has ended."""

    def __init__(self, folder: Path | None, ended: list[tuple[Stage, Any]], send: Send):
        super().__init__(folder)
        self._send, self._known = send, {stage for stage, _ in ended}
        for stage, lines in ended:
            if not self.done(stage):
                self.replace(stage, lines)

    def finish(self, stage: Stage) -> None:
        super().finish(stage)
        self._tell(stage)

    def send_again(self, stages: list[Stage]) -> None:
        """Send what another process has left in the folder, perhaps without sending."""
        for stage in filter(self.done, stages):
            self._tell(stage)

    def _tell(self, stage: Stage) -> None:
        if stage not in self._known:
            self._known.add(stage)
            self._send(StageEnded(stage, self.lines_of(stage)))


class _SendingReporter(ProgressReporter):
    """Sends the number of steps, at most once a second."""

    def __init__(self, send: Send):
        self._send, self._steps, self._last = send, 0, time.monotonic()

    def steps(self, label: str, number: int) -> None:
        self._steps += number
        if time.monotonic() - self._last > 1.0:
            self.flush()

    def flush(self) -> None:
        """Send what has not been sent."""
        if self._steps:
            self._send(Steps(self._steps))
        self._steps, self._last = 0, time.monotonic()


def _sending(send: Send) -> Callable[[EpochEvent], None]:
    def told(event: EpochEvent) -> None:
        trained = [
            [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(m, eqx.is_array))]
            for m in event.trained
        ]
        send(EpochEnded(event.records, event.layers, trained))

    return told
