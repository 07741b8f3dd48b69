"""The stages of a comparison: trials, cost, training, for each model and rule.

Each stage writes its lines into the ledger the moment they are known. One that has
ended is not done again, and one that was cut off goes on from its checkpoint.
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

from apical.lab._rule_spec import Entry
from apical.lab.data._labels import Score, labels_of
from apical.lab.report._summary import by_run, summarise
from apical.lab.report._terminal_table import outcome
from apical.lab.run._callbacks import Moment
from apical.lab.run._measurements import Stopwatch, cost_line
from apical.lab.run._progress import Reporter
from apical.lab.run._records import (
    Line,
    epoch_lines,
    layer_lines,
    refused_lines,
    regime_lines,
    run_line,
    trial_lines,
)
from apical.lab.storage._results import PHASES, Ledger, Stage
from apical.lab.training._setup import Lanes, Start, Work, held_out, held_out_of
from apical.lab.training._train import Position, Run, Watch, train, train_only
from apical.lab.training._tuning import (
    Choice,
    averaged,
    best,
    choice,
    draw_trials,
    seeds_of_trials,
)

_COMPILING = 5.0
Callback = Callable[[Moment], None]


class Sweep(NamedTuple):
    """How many trials every rule gets, and between which step sizes."""

    trials: int
    span: tuple[float, float]


class Refused(NamedTuple):
    """A rule refuses the model; the message says why."""

    message: str


class Bench:
    """One model of a comparison, on which rule after rule is run.

    Args:
        work: data, model and budget.
        seeds: of the runs that are reported.
        sweep: the search for hyper-parameters. None: every rule has its defaults.
        ledger: where everything is written.
        shared: what every line says: versions, machine, options.
        callback: is told of every epoch.
    """

    def __init__(
        self,
        work: Work,
        seeds: tuple[int, ...],
        sweep: Sweep | None,
        ledger: Ledger,
        shared: Line,
        callback: Callback | None = None,
    ):
        self.work, self.seeds, self.sweep = work, seeds, sweep
        self.ledger, self.shared, self.callback = ledger, shared, callback

    @cached_property
    def start(self) -> Start:
        """Where the runs that are reported start."""
        return Start(self.work)

    @cached_property
    def baseline(self) -> Stopwatch:
        """Times a step of backpropagation of all seeds together."""
        return Stopwatch(self.start, self.seeds)

    @cached_property
    def tuning(self) -> Start:
        """Where trials start: with a part of the training set held out."""
        return Start(self.work._replace(data=held_out(self.work.data)))

    @cached_property
    def seeds_of_trials(self) -> tuple[int, ...]:
        """The seeds that every trial is trained with."""
        return seeds_of_trials(held_out_of(len(self.work.data.train_y)))

    @property
    def _score(self) -> Score:
        return labels_of(self.work.data).score

    @cached_property
    def _usual_seconds(self) -> float:
        return self.baseline()

    def seconds(self, name: str, entry: Entry) -> float:
        """About how long a rule takes, compilation included."""
        stages = self._stage("trials", name), self._stage("training", name)
        todo = [0 if self.ledger.done(stage) else 1 for stage in stages]
        steps = self.work.epochs * self.work.steps
        lanes = todo[1] * len(self.seeds)
        lanes += todo[0] * self._lanes_of_trials
        if not lanes:
            return 0.0
        step = entry.cost * self._usual_seconds / len(self.seeds)
        return _COMPILING * sum(todo) + steps * step * lanes

    def run(self, name: str, entry: Entry, seconds: float, progress: Reporter) -> None:
        """Run what is left of one rule: its trials, its cost, its training."""
        label = f"{self.work.model_name} · {name}"
        if not self._done(name):
            lanes = len(self.seeds) + self._lanes_of_trials
            steps = self.work.epochs * self.work.steps * lanes
            progress.begin(label, seconds, steps)
        # What was written before must be of the same setting, also where it has ended.
        self._require("trials", name, self.shared | self._said(name))
        chosen = self._trials(name, entry, progress)
        line = self.shared | run_line(self.work, name, entry, chosen)
        self._require("cost", name, line)
        self._require("training", name, line)
        self._cost(name, entry, chosen, line)
        self._training(name, entry, chosen, line, progress)
        progress.end(label, outcome(self._row(name)))

    def _said(self, name: str) -> Line:
        work = self.work
        return {
            "data": work.data.name,
            "model": work.model_name,
            "rule": name,
            "epochs": work.epochs,
        }

    def _done(self, name: str) -> bool:
        phases = ("cost", "training") if self.sweep is None else PHASES
        return all(self.ledger.done(self._stage(phase, name)) for phase in phases)

    @property
    def _lanes_of_trials(self) -> int:
        if self.sweep is None:
            return 0
        return self.sweep.trials * len(self.seeds_of_trials)

    def _trials(self, name: str, entry: Entry, progress: Reporter) -> Choice:
        if self.sweep is None:
            return Choice(self.work.learning_rate, {})
        stage = self._stage("trials", name)
        lanes = draw_trials(*self.sweep, entry.search_space, entry.rate_scale)
        if not self.ledger.done(stage):
            self._search(stage, entry, lanes, progress)
        chosen = [
            line["trial"]
            for line in self.ledger.trials.lines
            if (line["model"], line["rule"]) == stage[1:] and line["chosen"]
        ]
        # A rule that refuses the model has no trials; its training will say so.
        return choice(lanes, chosen[0] if chosen else 0)

    def _search(
        self, stage: Stage, entry: Entry, lanes: Lanes, progress: Reporter
    ) -> None:
        seeds = self.seeds_of_trials
        run = Run(self.tuning, entry, lanes.each_with(seeds))
        position = self._begin(stage, run)
        if not isinstance(position, Refused):
            watch = self._watch(stage, run.lanes, progress)
            trained = train_only(run, position, watch)
            scores = averaged(run.score(trained), len(seeds))
            tested = averaged(run.score(trained, self.work.data), len(seeds))
            chosen = best(scores)
            lines = trial_lines(lanes, len(seeds), scores, tested, chosen, self._score)
            said = self.shared | self._said(stage.rule)
            self.ledger.trials.write(*(said | line for line in lines))
        self.ledger.finish(stage)

    def _training(
        self,
        name: str,
        entry: Entry,
        chosen: Choice,
        line: Line,
        progress: Reporter,
    ) -> None:
        stage = self._stage("training", name)
        if self.ledger.done(stage):
            return
        lanes = Lanes.alike(self.seeds, chosen.learning_rate, chosen.numbers)
        run = Run(self.start, entry, lanes)
        watch = self._watch(stage, lanes, progress)
        watch = watch._replace(backpropagation=self.baseline)
        position, ledger, seeds = self._begin(stage, run), self.ledger, self.seeds
        if isinstance(position, Refused):
            lines = refused_lines(position.message, seeds, self._score)
            ledger.records.write(*(line | measured for measured in lines))
        else:
            for epoch in train(run, position, watch):
                layers = [self._said(name) | m for m in layer_lines(epoch, seeds)]
                ledger.layers.write(*layers)
                found = regime_lines(epoch, seeds[0])
                ledger.regimes.write(*(self._said(name) | m for m in found))
                measured = epoch_lines(epoch, seeds, self._score)
                records = [line | m for m in measured]
                ledger.records.write(*records)
                if self.callback is not None:
                    trained = self.start.models(epoch.learned)
                    self.callback(Moment.of(records, layers, trained))
        ledger.finish(stage)

    def _cost(self, name: str, entry: Entry, chosen: Choice, line: Line) -> None:
        stage = self._stage("cost", name)
        if not self.ledger.done(stage):
            self.ledger.drop(stage)
            self.ledger.costs.write(line | cost_line(self.start, entry, chosen))
            self.ledger.finish(stage)

    def _require(self, phase: str, name: str, said: Line) -> None:
        self.ledger.require_said(self._stage(phase, name), said)

    def _stage(self, phase: str, name: str) -> Stage:
        return Stage(phase, self.work.model_name, name)

    def _row(self, name: str) -> Any:
        mine = (self.work.model_name, name)
        ledger = self.ledger
        records, trials, regimes = (
            by_run(journal.lines).get(mine, [])
            for journal in (ledger.records, ledger.trials, ledger.regimes)
        )
        return summarise(records, trials=trials, regimes=regimes)[0]

    def _begin(self, stage: Stage, run: Run) -> Position | Refused:
        """Where a run begins or goes on; the lines that come after that are dropped."""
        try:
            begun = run.begin()
        except ValueError as refusal:  # a rule refuses before the first step or never
            self.ledger.drop(stage)
            return Refused(str(refusal))
        kept = self.ledger.checkpoint.load(stage.name, begun)
        self.ledger.drop(stage, 0 if kept is None else kept.position.epoch)
        if kept is not None and kept.written == self.ledger.digest(stage):
            return kept.position
        self.ledger.drop(stage)  # a file has lost lines since: the run begins anew
        return begun

    def _watch(self, stage: Stage, lanes: Lanes, progress: Reporter) -> Watch:
        def steps(number: int) -> None:
            progress.steps(number * lanes.count)

        def place(position: Position) -> None:
            written = partial(self.ledger.digest, stage)
            self.ledger.checkpoint.save(stage.name, position, written)

        return Watch(steps, place)
