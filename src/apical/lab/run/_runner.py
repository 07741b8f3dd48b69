"""The runner: trials, cost and training of every rule on one model.

Each of these stages writes its lines into the result store as soon as they are known. A
stage that has ended is not repeated, and one that was interrupted continues from its
checkpoint.
"""

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

from apical.lab._rule_spec import RuleSpec
from apical.lab.data._labels import Score, labels_of
from apical.lab.report._summary import by_run, summarise
from apical.lab.report._terminal_table import outcome
from apical.lab.run._callbacks import Callback, EpochEvent
from apical.lab.run._measurements import BaselineTimer, cost_line
from apical.lab.run._progress import ProgressReporter
from apical.lab.run._records import (
    Line,
    epoch_lines,
    layer_lines,
    refused_lines,
    regime_lines,
    run_line,
    trial_lines,
)
from apical.lab.storage._results import PHASES, ResultStore, Stage
from apical.lab.training._setup import (
    TrainConfig,
    TrainSetup,
    VmappedRuns,
    held_out,
    held_out_of,
)
from apical.lab.training._train import (
    TrainCallbacks,
    Trainer,
    TrainProgress,
    train,
    train_only,
)
from apical.lab.training._tuning import (
    Choice,
    averaged,
    best,
    choice,
    draw_trials,
    seeds_of_trials,
)

_COMPILING = 5.0


class Sweep(NamedTuple):
    """The number of trials of each rule, and the range of step sizes."""

    trials: int
    span: tuple[float, float]


class Refused(NamedTuple):
    """A rule refuses the model."""

    message: str


class ModelRunner:
    """Runs rule after rule on one model of a comparison.

    Args:
        config: data, model and training budget.
        seeds: of the runs that are reported.
        sweep: the hyper-parameter search. None: every rule has its defaults.
        store: where results are written.
        shared: fields of every line: versions, machine, options.
        callbacks: called after every epoch.
    """

    def __init__(
        self,
        config: TrainConfig,
        seeds: tuple[int, ...],
        sweep: Sweep | None,
        store: ResultStore,
        shared: Line,
        callbacks: Sequence[Callback] = (),
    ):
        self.config, self.seeds, self.sweep = config, seeds, sweep
        self.store, self.shared, self.callbacks = store, shared, callbacks

    @cached_property
    def setup(self) -> TrainSetup:
        """Data and initial weights of the runs that are reported."""
        return TrainSetup(self.config)

    @cached_property
    def baseline(self) -> BaselineTimer:
        """Times a step of backpropagation, all seeds together."""
        return BaselineTimer(self.setup, self.seeds)

    @cached_property
    def tuning(self) -> TrainSetup:
        """The same for trials, with a part of the training set held out."""
        return TrainSetup(self.config._replace(data=held_out(self.config.data)))

    @cached_property
    def seeds_of_trials(self) -> tuple[int, ...]:
        """The seeds that every trial is trained with."""
        return seeds_of_trials(held_out_of(len(self.config.data.train_y)))

    @property
    def _score(self) -> Score:
        return labels_of(self.config.data).score

    @cached_property
    def _usual_seconds(self) -> float:
        return self.baseline()

    def seconds(self, name: str, spec: RuleSpec) -> float:
        """Estimated seconds that a rule takes, compilation included."""
        trials, training = self._todo(name)
        steps = self.steps(name)
        if not steps:
            return 0.0
        step = spec.cost * self._usual_seconds / len(self.seeds)
        return _COMPILING * (trials + training) + steps * step

    def steps(self, name: str) -> int:
        """The training steps that are left, counted for each run."""
        trials, training = self._todo(name)
        runs = training * len(self.seeds) + trials * self._runs_of_trials
        return self.config.epochs * self.config.steps * runs

    def _todo(self, name: str) -> tuple[bool, bool]:
        """Whether trials and training are left to do."""
        trials, training = (self._stage(p, name) for p in ("trials", "training"))
        swept = self.sweep is not None
        return swept and not self.store.done(trials), not self.store.done(training)

    def run(
        self, name: str, spec: RuleSpec, seconds: float, reporter: ProgressReporter
    ) -> None:
        """Run the stages of one rule that have not ended: trials, cost, training."""
        label = self.label(name)
        if not self.done(name):
            reporter.begin(label, seconds, max(1, self.steps(name)))
        # Earlier lines must have the same settings, also where a stage has ended.
        self._require("trials", name, self.shared | self._identity(name))
        chosen = self._trials(name, spec, reporter)
        line = self.shared | run_line(self.config, name, spec, chosen)
        self._require("cost", name, line)
        self._require("training", name, line)
        self._cost(name, spec, chosen, line)
        self._training(name, spec, chosen, line, reporter)
        self.report_end(name, reporter)

    def label(self, name: str) -> str:
        """What the progress bar calls a rule on this model."""
        return f"{self.config.model_name} · {name}"

    def report_end(self, name: str, reporter: ProgressReporter) -> None:
        """Show the result of a rule whose stages have ended."""
        reporter.end(self.label(name), outcome(self._row(name)))

    def _identity(self, name: str) -> Line:
        config = self.config
        return {
            "data": config.data.name,
            "model": config.model_name,
            "rule": name,
            "epochs": config.epochs,
        }

    def done(self, name: str) -> bool:
        """Whether all stages of a rule have ended."""
        return all(map(self.store.done, self.stages(name)))

    def stages(self, name: str) -> list[Stage]:
        """The stages of a rule, in order."""
        phases = PHASES[1:] if self.sweep is None else PHASES
        return [self._stage(phase, name) for phase in phases]

    @property
    def _runs_of_trials(self) -> int:
        if self.sweep is None:
            return 0
        return self.sweep.trials * len(self.seeds_of_trials)

    def _trials(self, name: str, spec: RuleSpec, reporter: ProgressReporter) -> Choice:
        if self.sweep is None:
            return Choice(self.config.learning_rate, {})
        stage = self._stage("trials", name)
        runs = draw_trials(*self.sweep, spec.search_space, spec.rate_scale)
        if not self.store.done(stage):
            self._search(stage, spec, runs, reporter)
        chosen = [
            line["trial"]
            for line in self.store.trials.lines
            if (line["model"], line["rule"]) == stage[1:] and line["chosen"]
        ]
        # A rule that refuses the model has no trials; its training records the refusal.
        return choice(runs, chosen[0] if chosen else 0)

    def _search(
        self,
        stage: Stage,
        spec: RuleSpec,
        runs: VmappedRuns,
        reporter: ProgressReporter,
    ) -> None:
        seeds = self.seeds_of_trials
        trainer = Trainer(self.tuning, spec, runs.repeated_with(seeds))
        progress = self._begin(stage, trainer)
        if not isinstance(progress, Refused):
            callbacks = self._callbacks(stage, trainer.runs, reporter)
            trained = train_only(trainer, progress, callbacks)
            scores = averaged(trainer.score(trained), len(seeds))
            tested = averaged(trainer.score(trained, self.config.data), len(seeds))
            chosen = best(scores)
            lines = trial_lines(runs, len(seeds), scores, tested, chosen, self._score)
            common = self.shared | self._identity(stage.rule)
            self.store.trials.write(*(common | line for line in lines))
        self.store.finish(stage)

    def _training(
        self,
        name: str,
        spec: RuleSpec,
        chosen: Choice,
        line: Line,
        reporter: ProgressReporter,
    ) -> None:
        stage = self._stage("training", name)
        if self.store.done(stage):
            return
        runs = VmappedRuns.with_seeds(self.seeds, chosen.learning_rate, chosen.numbers)
        trainer = Trainer(self.setup, spec, runs)
        callbacks = self._callbacks(stage, runs, reporter)
        callbacks = callbacks._replace(time_backpropagation=self.baseline)
        progress, store, seeds = self._begin(stage, trainer), self.store, self.seeds
        if isinstance(progress, Refused):
            lines = refused_lines(progress.message, seeds, self._score)
            store.records.write(*(line | measured for measured in lines))
        else:
            for epoch in train(trainer, progress, callbacks):
                layers = [self._identity(name) | m for m in layer_lines(epoch, seeds)]
                store.layers.write(*layers)
                found = regime_lines(epoch, seeds[0])
                store.regimes.write(*(self._identity(name) | m for m in found))
                measured = epoch_lines(epoch, seeds, self._score)
                records = [line | m for m in measured]
                store.records.write(*records)
                if self.callbacks:
                    trained = self.setup.models(epoch.learned)
                    event = EpochEvent.of(records, layers, trained)
                    for callback in self.callbacks:
                        callback(event)
        store.finish(stage)

    def _cost(self, name: str, spec: RuleSpec, chosen: Choice, line: Line) -> None:
        stage = self._stage("cost", name)
        if not self.store.done(stage):
            self.store.drop(stage)
            self.store.costs.write(line | cost_line(self.setup, spec, chosen))
            self.store.finish(stage)

    def _require(self, phase: str, name: str, expected: Line) -> None:
        self.store.require_same(self._stage(phase, name), expected)

    def _stage(self, phase: str, name: str) -> Stage:
        return Stage(phase, self.config.model_name, name)

    def _row(self, name: str) -> Any:
        mine = (self.config.model_name, name)
        store = self.store
        records, trials, regimes = (
            by_run(table.lines).get(mine, [])
            for table in (store.records, store.trials, store.regimes)
        )
        return summarise(records, trials=trials, regimes=regimes)[0]

    def _begin(self, stage: Stage, trainer: Trainer) -> TrainProgress | Refused:
        """The progress to start or resume from; lines after it are removed."""
        try:
            begun = trainer.begin()
        except ValueError as refusal:  # a rule refuses in `init` or not at all
            self.store.drop(stage)
            return Refused(str(refusal))
        begun = trainer.fitted(begun)
        saved = self.store.checkpoint.load(stage.name, begun)
        self.store.drop(stage, 0 if saved is None else saved.progress.epoch)
        if saved is not None and saved.written == self.store.digest(stage):
            return saved.progress
        self.store.drop(stage)  # a file has lost lines since: start again
        return begun

    def _callbacks(
        self, stage: Stage, runs: VmappedRuns, reporter: ProgressReporter
    ) -> TrainCallbacks:
        def on_steps(number: int) -> None:
            reporter.steps(self.label(stage.rule), number * runs.count)

        def on_progress(progress: TrainProgress) -> None:
            written = partial(self.store.digest, stage)
            self.store.checkpoint.save(stage.name, progress, written)

        return TrainCallbacks(on_steps, on_progress)
