"""The driver's side of an engine: it hands out rules, and writes what comes back."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from apical.lab._errors import LabError, TaskError
from apical.lab.engines._engine import (
    Ended,
    Engine,
    EpochEnded,
    Failed,
    Lost,
    Message,
    RuleTask,
    StageEnded,
    Started,
    Steps,
    Workers,
)
from apical.lab.run._callbacks import Callback, EpochEvent
from apical.lab.run._plan import Plan
from apical.lab.run._progress import ProgressReporter
from apical.lab.run._records import environment
from apical.lab.run._runner import ModelRunner
from apical.lab.storage._results import ResultStore
from apical.lab.training._train import Learned

_OF_MACHINES = ("machine", "device")  # the driver's may be others than the workers'


def with_environment(plan: Plan, workers: Workers) -> Plan:
    """The plan with versions and device of the workers in its settings.

    Raises:
        LabError: if they have other versions than this process.
    """
    here, there = environment(), workers.environment()
    for name, value in here.items():
        if name not in _OF_MACHINES and value != there[name]:
            raise LabError(
                f"the workers have {name} = {there[name]!r}, and this process has "
                f"{value!r}: install the same versions on every machine"
            )
    return plan.trained_in(there)


class Driver:
    """Runs the rules of a comparison that have not ended.

    Args:
        plan: the comparison.
        engine: where it is trained.
        workers: of the engine, which have begun with this plan.
        store: where results are written.
        reporter: shows the progress.
        callbacks: called after every epoch, in this process.
    """

    def __init__(
        self,
        plan: Plan,
        engine: Engine,
        workers: Workers,
        store: ResultStore,
        reporter: ProgressReporter,
        callbacks: Sequence[Callback] = (),
    ):
        self._plan, self._engine, self._workers = plan, engine, workers
        self._store, self._reporter, self._callbacks = store, reporter, callbacks
        self._open: dict[int, _OpenTask] = {}

    def run(self) -> None:
        """Run them all."""
        self._store.require_runs(self._plan.settings)
        for runner in self._plan.runners(self._store):
            for name, spec in self._plan.specs.items():
                if runner.done(name):  # only checks its lines and shows its result
                    runner.run(name, spec, 0.0, self._reporter)
                else:
                    weight = spec.cost * max(1, runner.steps(name))
                    self._open[len(self._open)] = _OpenTask(runner, name, weight)
        weights = [task.weight for task in self._open.values()]
        self._reporter.expect(sum(weights), len(weights), timed=False)
        try:
            self._submit(list(self._open))
            while self._open:
                self._handle(*self._workers.receive())
        except BaseException:
            self._workers.cancel()
            raise

    def _submit(self, numbers: list[int]) -> None:
        if numbers:
            self._workers.submit({n: self._open[n].task(self._store) for n in numbers})

    def _handle(self, number: int, message: Message) -> None:
        task, reporter = self._open[number], self._reporter
        match message:
            case Started():
                steps = max(1, task.runner.steps(task.rule))
                reporter.begin(task.label, task.weight, steps)
            case Steps(steps):
                reporter.steps(task.label, steps)
            case EpochEnded():
                self._call_back(task, message)
            case StageEnded(stage, lines):
                self._store.replace(stage, lines)
            case Ended():
                task.runner.report_end(task.rule, reporter)
                del self._open[number]
            case Failed(node, text, None):
                raise LabError(f"{task.label}, on {node}: {text}")
            case Failed(node, text, traceback):
                raise TaskError(f"{task.label} failed on {node}: {text}\n{traceback}")
            case Lost(reason):
                self._start_again(number, reason)

    def _start_again(self, number: int, reason: str) -> None:
        task, retries = self._open[number], self._engine.retries
        if task.lost == retries:
            raise TaskError(
                f"{task.label}: its worker was lost {retries + 1} times, at last "
                f"because {reason}. Was there too little memory? What has ended is kept"
            )
        task.lost += 1
        self._reporter.note(
            f"{task.label}: its worker was lost ({reason}); started again "
            f"({task.lost} of {retries})"
        )
        self._submit([number])

    def _call_back(self, task: "_OpenTask", ended: EpochEnded) -> None:
        models = task.models(ended.trained)
        event = EpochEvent.of(ended.records, ended.layers, models)
        if event.epoch <= task.told:  # by a worker that was lost
            return
        task.told = event.epoch
        for callback in self._callbacks:
            callback(event)


class _OpenTask:
    """A task that has not ended."""

    def __init__(self, runner: ModelRunner, rule: str, weight: float):
        self.runner, self.rule, self.weight = runner, rule, weight
        self.label, self.lost, self.told = runner.label(rule), 0, -1

    def task(self, store: ResultStore) -> RuleTask:
        """What a worker is given: the rule, and what is known of it."""
        ended = [
            (stage, store.lines_of(stage))
            for stage in self.runner.stages(self.rule)
            if store.done(stage)
        ]
        return RuleTask(self.runner.config.model_name, self.rule, ended)

    def models(self, trained: list[list[Any]]) -> list[Any]:
        """The model of each seed with these arrays."""
        setup = self.runner.setup
        blank = setup.models([Learned(*setup.weights(self.runner.seeds), None)])
        return list(map(_with_arrays, blank, trained))


def _with_arrays(model: Any, arrays: list[Any]) -> Any:
    dynamic, static = eqx.partition(model, eqx.is_array)
    leaves = list(map(jnp.asarray, arrays))
    dynamic = jax.tree.unflatten(jax.tree.structure(dynamic), leaves)
    return eqx.combine(dynamic, static)
