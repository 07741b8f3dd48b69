"""The training loop: one model, one rule, several vmapped runs.

An epoch is a Python loop over compiled calls of a few training steps each. Between two
calls progress is reported, a step of backpropagation is timed, and a checkpoint is
written.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import apical
from apical.lab._rule_spec import RuleSpec
from apical.lab.data._dataset import Data
from apical.lab.training._call_groups import (
    bytes_of_call,
    faster_apart,
    memory_of,
    size_that_fits,
    slices,
)
from apical.lab.training._compiled_calls import CompiledCalls
from apical.lab.training._predictive_coding_regime import has_regime, regime_of
from apical.lab.training._setup import TrainSetup, VmappedRuns, batch_order, parts

_TEST_CHUNK = 500
_BASELINE_EVERY = 4


class Learned(NamedTuple):
    """What training changes: pytrees, stacked over the runs of a group."""

    params: Any
    statistics: Any
    state: Any


class TrainProgress(NamedTuple):
    """How far training has got, and everything that is needed to continue from there.

    Attributes:
        epoch: the current epoch, from 1 up.
        calls: how many compiled calls of this epoch have been made.
        losses: of the steps of this epoch so far, `(steps, runs)`.
        diverged: which runs have diverged, `(runs,)`.
        learned: by group of runs.
    """

    epoch: int
    calls: int
    losses: np.ndarray
    diverged: np.ndarray
    learned: list[Learned]


class Scores(NamedTuple):
    """Loss and score on a test set; arrays over runs."""

    loss: np.ndarray
    accuracy: np.ndarray  # or R²; nan where outputs are not finite
    diverged: np.ndarray  # whether the loss or the outputs were ever not finite


class Epoch(NamedTuple):
    """Measurements after an epoch (0: before training); arrays over runs."""

    number: int
    loss: np.ndarray
    scores: Scores
    alignment: Any  # apical.measure.Alignment
    seconds_per_step: float  # of all runs together; nan at epoch 0
    seconds_per_step_of_backpropagation: float  # timed in alternation with it
    seconds_compiling: float
    regime: Any = (
        None  # apical.measure.Regime of the first run, at the first and last epoch
    )
    learned: Sequence[Learned] = ()  # by group of runs


class Times(NamedTuple):
    """Times of a step in one epoch: of the rule, and of backpropagation beside it."""

    rule: list[float]
    backpropagation: list[float]


class TrainCallbacks(NamedTuple):
    """Functions that the training loop calls.

    Attributes:
        on_steps: after each compiled call, with the number of training steps in it.
        on_progress: after each compiled call, with the progress, to save it.
        time_backpropagation: every few calls; returns the time of one step of
            backpropagation in seconds.
    """

    on_steps: Callable[[int], None] = lambda steps: None
    on_progress: Callable[[TrainProgress], None] = lambda progress: None
    time_backpropagation: Callable[[], float] | None = None


NO_CALLBACKS = TrainCallbacks()


def train(
    trainer: "Trainer",
    progress: TrainProgress,
    callbacks: TrainCallbacks = NO_CALLBACKS,
) -> Iterator[Epoch]:
    """Train, and yield the measurements before training and after every epoch.

    Args:
        trainer: the rule and its runs.
        progress: `trainer.begin()`, or the progress to continue from.
        callbacks: called during training.

    Returns:
        An iterator over the measurements; it ends early once all runs have diverged.
    """
    if (progress.epoch, progress.calls) == (1, 0):
        epoch = trainer.measure(0, progress, Times([], []))
        yield epoch
        progress = progress._replace(diverged=epoch.scores.diverged)
    while progress.epoch <= trainer.setup.config.epochs and not progress.diverged.all():
        progress, times = trainer.epoch(progress, callbacks)
        epoch = trainer.measure(progress.epoch, progress, times)
        yield epoch
        progress = _next_epoch(progress, epoch.scores.diverged)
        callbacks.on_progress(progress)


def train_only(
    trainer: "Trainer",
    progress: TrainProgress,
    callbacks: TrainCallbacks = NO_CALLBACKS,
) -> TrainProgress:
    """Train to the end without measuring."""
    while progress.epoch <= trainer.setup.config.epochs and not progress.diverged.all():
        progress, _ = trainer.epoch(progress, callbacks)
        progress = _next_epoch(progress, _diverged(progress))
        callbacks.on_progress(progress)
    return progress


class Trainer:
    """The compiled functions of one rule, applied to each group of runs in turn.

    Args:
        setup: data, model and initial weights.
        spec: the rule.
        runs: seeds, step sizes and hyper-parameters of the runs.
        apart: whether they run one by one; None: where that is faster.
    """

    def __init__(
        self,
        setup: TrainSetup,
        spec: RuleSpec,
        runs: VmappedRuns,
        apart: bool | None = None,
    ):
        self.setup, self.runs = setup, runs
        self.rule = spec.make()
        self._call = CompiledCalls()
        self._rates = jnp.asarray(runs.learning_rates)
        self._numbers = {k: jnp.asarray(v) for k, v in runs.numbers.items()}
        apart = faster_apart(setup) if apart is None else apart
        self._divide(1 if apart else runs.count)

    def _divide(self, size: int) -> None:
        self.groups = slices(self.runs.count, size)
        self._by_group = [_slice(self._numbers, group) for group in self.groups]

    def begin(self) -> TrainProgress:
        """The progress before the first step: initial weights and states."""
        params, statistics = self.setup.weights(self.runs.seeds)
        keys = jax.vmap(jax.random.key)(jnp.asarray(self.runs.seeds))
        batch = self.setup.batch

        def state(key: Any, numbers: Any, params: Any, statistics: Any) -> Any:
            # Its shapes are the same at every rate, and some rules look at the rate.
            step = self._step(numbers, self.setup.config.learning_rate)
            return step.init(jax.random.fold_in(key, 1), params, statistics, *batch)

        # Not jitted as a whole: random draws compile slowly, and the pieces are in the
        # cache when the next rule needs them.
        states = jax.vmap(state)(keys, self._numbers, params, statistics)
        every = Learned(params, statistics, states)
        runs = self.runs.count
        learned = [_slice(every, group) for group in self.groups]
        return TrainProgress(1, 0, np.zeros((0, runs)), np.zeros(runs, bool), learned)

    def fitted(self, begun: TrainProgress) -> TrainProgress:
        """The same with smaller groups of runs, where memory is short for a call.

        Args:
            begun: what `begin` returned.
        """
        config, first = self.setup.config, begun.learned[0]
        steps = min(config.model.steps_per_call, config.steps)

        def bytes_of(size: int) -> int:
            group, shape = slice(0, size), (steps, size, config.batch_size)
            learned, numbers = (_slice(tree, group) for tree in (first, self._numbers))
            args = self._arguments(learned, numbers, group, np.zeros(shape, int))
            return bytes_of_call(self._call.compile(self._advance, *args))

        memory, largest = memory_of(self.setup.device), self.groups[0].stop
        size = size_that_fits(largest, bytes_of, memory)
        if memory is not None and size == 1:
            fitting = memory // max(1, bytes_of(1))
            self._call.at_a_time = max(1, min(self._call.at_a_time, fitting))
        if size == largest:
            return begun
        self._divide(size)  # there was one group, of all runs
        return begun._replace(learned=[_slice(first, group) for group in self.groups])

    def epoch(
        self, progress: TrainProgress, callbacks: TrainCallbacks
    ) -> tuple[TrainProgress, Times]:
        """Train the rest of an epoch; returns the new progress and the step times."""
        times = Times([], [])
        model = self.setup.config.model
        order = batch_order(self.setup.config, self.runs.seeds, progress.epoch)
        rest = islice(parts(order, model.steps_per_call), progress.calls, None)
        for part in rest:
            learned, losses, seconds = self.advance(progress.learned, part)
            progress = progress._replace(
                calls=progress.calls + 1,
                losses=np.concatenate([progress.losses, losses]),
                learned=learned,
            )
            times.rule.append(seconds)
            # In alternation with backpropagation: other load on the machine then slows
            # both alike.
            calls = progress.calls
            turn = calls % _BASELINE_EVERY == 1 or calls <= _BASELINE_EVERY
            if callbacks.time_backpropagation and turn:
                times.backpropagation.append(callbacks.time_backpropagation())
            callbacks.on_steps(len(part))
            callbacks.on_progress(progress)
        return progress, times

    def advance(
        self, learned: list[Learned], part: np.ndarray
    ) -> tuple[list[Learned], np.ndarray, float]:
        """One training step per batch in `part`: new weights, losses, step time."""
        groups = zip(learned, self._by_group, self.groups, strict=True)
        arguments = [self._arguments(*group, part=part) for group in groups]
        calls = self._call.prepare(self._advance, arguments)
        began = time.perf_counter()
        after = self._call.run(calls)
        seconds = (time.perf_counter() - began) / len(part)
        losses = np.concatenate([loss for _, loss in after], axis=1)
        return [group for group, _ in after], losses, seconds

    def measure(self, number: int, progress: TrainProgress, times: Times) -> Epoch:
        """The measurements that are recorded after an epoch."""
        return Epoch(
            number=number,
            loss=_mean(progress.losses),
            scores=self.score(progress),
            alignment=self.alignment(progress.learned),
            seconds_per_step=_median(times.rule),
            seconds_per_step_of_backpropagation=_median(times.backpropagation),
            seconds_compiling=self._call.seconds_compiling,
            learned=progress.learned,
            regime=self._regime(number, progress.learned),
        )

    def _regime(self, number: int, learned: list[Learned]) -> Any:
        """The regime before training and after the last epoch, where there is one."""
        if number not in (0, self.setup.config.epochs) or not has_regime(self.rule):
            return None
        numbers = {name: values[0] for name, values in self._numbers.items()}
        rule = self._rule(numbers)
        return regime_of(self.setup.loss, rule, learned[0], self.setup.batch)

    def alignment(self, learned: list[Learned]) -> Any:
        """Alignment with backpropagation's gradient on one training batch."""
        pairs = zip(learned, self._by_group, strict=True)
        arguments = [(*pair, *self.setup.batch) for pair in pairs]
        found = self._call(self._align, arguments)
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)

    def score(self, progress: TrainProgress, data: Data | None = None) -> Scores:
        """Mean loss and score on the test set, by run."""
        data = self.setup.config.data if data is None else data
        x, y = data.test_x, data.test_y
        size = min(_TEST_CHUNK, len(y))
        pairs = list(zip(progress.learned, self._by_group, strict=True))
        sums = np.zeros((3, self.runs.count))
        for begin in range(0, len(y), size):
            # The last chunk is padded from the front: only one shape is compiled.
            places = np.arange(begin, begin + size)
            chosen = places % len(y)
            examples = x[chosen], y[chosen], places < len(y)
            arguments = [(*pair, *examples) for pair in pairs]
            found = self._call(self._score, arguments)
            sums += np.concatenate(found, axis=1)
        loss, score = sums[:2] / sums[2]
        return Scores(loss, score, _diverged(progress) | np.isnan(score))

    def _arguments(
        self, learned: Learned, numbers: Any, group: slice, part: np.ndarray
    ) -> tuple[Any, ...]:
        """Those of `_advance` for one group of runs."""
        data = self.setup.x, self.setup.y
        return learned, self._rates[group], numbers, *data, part[:, group]

    def _rule(self, numbers: dict[str, Any]) -> Any:
        return replace(self.rule, **numbers)

    def _step(self, numbers: dict[str, Any], rate: Any, training: bool = True) -> Any:
        loss = self.setup.loss
        return apical.train_step(
            loss.training if training else loss.evaluation,
            self._rule(numbers),
            self.setup.config.optimizer(rate),
            **loss.setting,
        )

    def _advance(
        self, learned: Learned, rates: Any, numbers: Any, x: Any, y: Any, order: Any
    ) -> tuple[Learned, jax.Array]:
        def one_run(learned: Learned, rate: Any, numbers: Any, chosen: Any) -> Any:
            params, statistics, state = learned
            step = self._step(numbers, rate)
            args = statistics, x[chosen], y[chosen]
            params, state, credit = step(params, state, *args)
            return Learned(params, credit.aux, state), credit.value

        def step(learned: Learned, chosen: Any) -> Any:
            return jax.vmap(one_run)(learned, rates, numbers, chosen)

        if len(order) > 1:
            return jax.lax.scan(step, learned, order)
        # Even a loop of one step is slow for convolutions: see `apical.lab.models`.
        learned, loss = step(learned, order[0])
        return learned, loss[None]

    def _align(self, learned: Learned, numbers: Any, x: Any, y: Any) -> Any:
        def one_run(learned: Learned, numbers: Any) -> Any:
            params, statistics, state = learned
            loss = self.setup.loss
            learner = apical.value_and_grad(
                loss.training, self._rule(numbers), **loss.setting
            )
            align = apical.measure.alignment(learner)
            return align(params, state.rule, statistics, x, y)

        return jax.vmap(one_run)(learned, numbers)

    def _score(self, learned: Learned, numbers: Any, x: Any, y: Any, real: Any) -> Any:
        def one_run(learned: Learned, numbers: Any) -> Any:
            params, statistics, state = learned
            # Coupled rules predict through their `train_step` only.
            step = self._step(numbers, self.setup.config.learning_rate, training=False)
            outputs = step.predict(params, state, statistics, x, y)
            return self.setup.loss.sums(outputs, y, real)

        return jnp.stack(jax.vmap(one_run)(learned, numbers))


def _next_epoch(progress: TrainProgress, diverged: np.ndarray) -> TrainProgress:
    nothing = progress.losses[:0]
    return TrainProgress(progress.epoch + 1, 0, nothing, diverged, progress.learned)


def _slice(tree: Any, group: slice) -> Any:
    return jax.tree.map(lambda leaf: leaf[group], tree)


def _diverged(progress: TrainProgress) -> np.ndarray:
    """Which runs have had a loss that is not finite."""
    return progress.diverged | ~np.isfinite(progress.losses).all(0)


def _mean(losses: np.ndarray) -> np.ndarray:
    return losses.mean(0) if len(losses) else np.full(losses.shape[1], np.nan)


def _median(times: list[float]) -> float:
    return median(times) if times else float("nan")
