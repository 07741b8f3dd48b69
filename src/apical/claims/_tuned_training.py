"""Training with an optimiser that is a function of the step size, as a task.

`apical.lab.compare` names its optimisers; a claim about optimisers makes its own. The
trials, the choice among them and the runs that are reported are those of `compare`.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import optax

from apical.claims._claim import Task, TaskContext
from apical.claims._tasks import RECORD_FIELDS, TRIAL_FIELDS
from apical.lab._rule_spec import RuleSpec
from apical.lab.data._labels import labels_of
from apical.lab.data._load import Data
from apical.lab.models import own_model
from apical.lab.run._records import epoch_lines, run_line, trial_lines
from apical.lab.storage._jsonl import Line
from apical.lab.training._setup import (
    TrainConfig,
    TrainSetup,
    VmappedRuns,
    held_out,
    held_out_of,
)
from apical.lab.training._train import Trainer, train, train_only
from apical.lab.training._tuning import (
    Choice,
    averaged,
    best,
    choice,
    draw_trials,
    seeds_of_trials,
)


class NamedOptimizer(NamedTuple):
    """An optimiser that a claim makes.

    Attributes:
        name: in the records.
        make: makes it from the step size, and the number of steps of the run.
        span: the lowest and the highest step size that is drawn.
    """

    name: str
    make: Callable[[Any, int], optax.GradientTransformation]
    span: tuple[float, float]


class Budget(NamedTuple):
    """How long to train, and how often.

    Attributes:
        epochs: of each run.
        batch_size: examples in a batch.
        seeds: of the runs that are reported.
        trials: of the step size; 0: the middle of the span, on a logarithmic scale.
    """

    epochs: int
    batch_size: int
    seeds: int
    trials: int


def tuned_task(
    name: str,
    data: Callable[[TaskContext], Data],
    model: tuple[str, Callable[..., Any]],
    rule: tuple[str, RuleSpec],
    optimizer: NamedOptimizer,
    budget: Budget,
    **columns: Any,
) -> Task:
    """A task that tunes and trains one network with one rule and one optimiser.

    The lines of the trials, which have the field `trial`, follow those of the runs.

    Args:
        name: of the task.
        data: loads the data.
        model: its name, and its factory.
        rule: its name, and how to make it.
        optimizer: what it learns with.
        budget: how long and how often.
        columns: more fields, the same in every line.
    """

    def run(context: TaskContext) -> Iterator[Line]:
        config = _config(data(context), model, optimizer, budget)
        common = {"data": config.data.name, "model": model[0], "rule": rule[0]}
        common |= {"optimizer": optimizer.name}
        chosen, trials = Choice(config.learning_rate, {}), []
        if budget.trials:
            chosen, trials = _tuned(config, rule[1], optimizer, budget.trials)
        seeds = tuple(range(budget.seeds))
        runs = VmappedRuns.with_seeds(seeds, chosen.learning_rate, chosen.numbers)
        training = Trainer(TrainSetup(config), rule[1], runs)
        shared = run_line(config, *rule, chosen) | {"optimizer": optimizer.name}
        score = labels_of(config.data).score
        for epoch in train(training, training.begin()):
            for line in epoch_lines(epoch, seeds, score):
                yield {k: (shared | line)[k] for k in RECORD_FIELDS} | columns
        for line in trials:
            full = common | line
            yield {k: full[k] for k in (*TRIAL_FIELDS, "optimizer")} | columns

    return Task(name, run)


def _config(
    data: Data,
    model: tuple[str, Callable[..., Any]],
    optimizer: NamedOptimizer,
    budget: Budget,
) -> TrainConfig:
    steps = budget.epochs * (len(data.train_y) // budget.batch_size)
    return TrainConfig(
        data,
        model[0],
        own_model(model[1], data.kind),
        lambda rate: optimizer.make(rate, steps),
        math.sqrt(optimizer.span[0] * optimizer.span[1]),
        budget.epochs,
        budget.batch_size,
    )


def _tuned(
    config: TrainConfig, spec: RuleSpec, optimizer: NamedOptimizer, number: int
) -> tuple[Choice, list[Line]]:
    """The best of the trials on a held-out part, and their lines."""
    tried = config._replace(data=held_out(config.data))
    steps = tried.epochs * tried.steps
    tried = tried._replace(optimizer=lambda rate: optimizer.make(rate, steps))
    seeds = seeds_of_trials(held_out_of(len(config.data.train_y)))
    runs = draw_trials(number, optimizer.span, spec.search_space, spec.rate_scale)
    trainer = Trainer(TrainSetup(tried), spec, runs.repeated_with(seeds))
    trained = train_only(trainer, trainer.begin())
    scores = averaged(trainer.score(trained), len(seeds))
    tested = averaged(trainer.score(trained, config.data), len(seeds))
    won = best(scores)
    score = labels_of(config.data).score
    lines = trial_lines(runs, len(seeds), scores, tested, won, score)
    return choice(runs, won), list(lines)
