"""Train one model with one rule, all lanes at once.

An epoch is a Python loop over compiled calls of a few training steps each, so that
progress can be told, a step of backpropagation timed, and the place kept, in between.
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
from apical.lab._rule_spec import Entry
from apical.lab.data._dataset import Data
from apical.lab.training._loss import Loss
from apical.lab.training._regime import has_regime, regime_of
from apical.lab.training._setup import Lanes, Start, batch_order, parts

_TEST_CHUNK = 500
_BASELINE_EVERY = 4


class Learned(NamedTuple):
    """All that training changes, stacked over the lanes of a group."""

    params: Any
    statistics: Any
    state: Any


class Position(NamedTuple):
    """Where a run is: all that is needed to go on from there."""

    epoch: int  # the one that is going on, from 1 up
    part: int  # how many of its compiled calls have been made
    losses: np.ndarray  # of its steps so far: (steps, lanes)
    diverged: np.ndarray  # (lanes,)
    learned: list[Learned]  # by group of lanes


class Scores(NamedTuple):
    """How well a model does on the test part of its data; arrays over lanes."""

    loss: np.ndarray
    accuracy: np.ndarray  # or R²; not a number where outputs are not finite
    diverged: np.ndarray  # whether loss or outputs ever were not finite


class Epoch(NamedTuple):
    """What was measured after an epoch (0: before training); arrays over lanes."""

    number: int
    loss: np.ndarray
    scores: Scores
    alignment: Any  # apical.measure.Alignment
    seconds_per_step: float  # of all lanes together; not a number at epoch 0
    seconds_per_step_of_backpropagation: float  # measured in turn with it
    seconds_compiling: float
    regime: Any = None  # apical.measure.Regime of the first lane, first and last
    learned: Sequence[Learned] = ()  # by group of lanes


class Times(NamedTuple):
    """Times of a step in one epoch, of the rule and of backprop in turn with it."""

    rule: list[float]
    backpropagation: list[float]


class Watch(NamedTuple):
    """Who is told what while a run goes on.

    Attributes:
        steps: is told of every few training steps that have been made.
        place: is given the position after each compiled call, to keep it.
        backpropagation: times one of its steps; is called every now and then.
    """

    steps: Callable[[int], None] = lambda steps: None
    place: Callable[[Position], None] = lambda position: None
    backpropagation: Callable[[], float] | None = None


_NOBODY = Watch()


def train(run: "Run", position: Position, watch: Watch = _NOBODY) -> Iterator[Epoch]:
    """Train, and yield what was measured before training and after every epoch.

    Args:
        run: the rule and its lanes.
        position: `run.begin()`, or where to go on.
        watch: who is told of the progress.

    Returns:
        An iterator over what was measured; it ends early once all lanes have diverged.
    """
    if (position.epoch, position.part) == (1, 0):
        epoch = run.measure(0, position, Times([], []))
        yield epoch
        position = position._replace(diverged=epoch.scores.diverged)
    while position.epoch <= run.start.work.epochs and not position.diverged.all():
        position, times = run.epoch(position, watch)
        epoch = run.measure(position.epoch, position, times)
        yield epoch
        position = _next_epoch(position, epoch.scores.diverged)
        watch.place(position)


def train_only(run: "Run", position: Position, watch: Watch = _NOBODY) -> Position:
    """Train to the end, and measure nothing on the way."""
    while position.epoch <= run.start.work.epochs and not position.diverged.all():
        position, _ = run.epoch(position, watch)
        position = _next_epoch(position, _diverged(position))
        watch.place(position)
    return position


class Run:
    """The compiled functions of one rule, and what they learn, group by group."""

    def __init__(self, start: Start, entry: Entry, lanes: Lanes):
        self.start, self.lanes = start, lanes
        self.rule = entry.make()
        self.groups = _groups(start, lanes)
        self.seconds_compiling = 0.0
        self._compiled: dict[tuple, Any] = {}
        self._rates = jnp.asarray(lanes.learning_rates)
        self._numbers = {k: jnp.asarray(v) for k, v in lanes.numbers.items()}
        self._by_group = [_slice(self._numbers, group) for group in self.groups]

    def begin(self) -> Position:
        """Before the first step: initial weights, statistics and states."""
        params, statistics = self.start.weights(self.lanes.seeds)
        keys = jax.vmap(jax.random.key)(jnp.asarray(self.lanes.seeds))
        batch = self.start.batch

        def state(key: Any, numbers: Any, params: Any, statistics: Any) -> Any:
            # Its shapes are the same at every rate, and some rules look at the rate.
            step = self._step(numbers, self.start.work.learning_rate)
            return step.init(jax.random.fold_in(key, 1), params, statistics, *batch)

        # Not compiled as a whole: drawing numbers compiles slowly, and piece by piece
        # the next rule finds the pieces ready.
        states = jax.vmap(state)(keys, self._numbers, params, statistics)
        every = Learned(params, statistics, states)
        lanes = self.lanes.count
        learned = [_slice(every, group) for group in self.groups]
        return Position(1, 0, np.zeros((0, lanes)), np.zeros(lanes, bool), learned)

    def epoch(self, position: Position, watch: Watch) -> tuple[Position, Times]:
        """The rest of an epoch from a position, and the times of a step."""
        times = Times([], [])
        model = self.start.work.model
        order = batch_order(self.start.work, self.lanes.seeds, position.epoch)
        rest = islice(parts(order, model.steps_per_call), position.part, None)
        for part in rest:
            learned, losses, seconds = self.advance(position.learned, part)
            position = position._replace(
                part=position.part + 1,
                losses=np.concatenate([position.losses, losses]),
                learned=learned,
            )
            times.rule.append(seconds)
            # In turn with backprop, so that whatever else the machine does meanwhile
            # slows both alike.
            turn = (
                position.part % _BASELINE_EVERY == 1 or position.part <= _BASELINE_EVERY
            )
            if watch.backpropagation and turn:
                times.backpropagation.append(watch.backpropagation())
            watch.steps(len(part))
            watch.place(position)
        return position, times

    def advance(
        self, learned: list[Learned], part: np.ndarray
    ) -> tuple[list[Learned], np.ndarray, float]:
        """One training step for each batch in `part`: weights, losses, step time."""
        data = self.start.x, self.start.y
        work = [
            (one, self._rates[group], numbers, *data, part[:, group])
            for one, numbers, group in zip(
                learned, self._by_group, self.groups, strict=True
            )
        ]
        advance = self._compile(self._advance, *work[0])
        began = time.perf_counter()
        after = jax.block_until_ready([advance(*args) for args in work])
        seconds = (time.perf_counter() - began) / len(part)
        losses = np.concatenate([loss for _, loss in after], axis=1)
        return [group for group, _ in after], losses, seconds

    def measure(self, number: int, position: Position, times: Times) -> Epoch:
        """All that is recorded after an epoch."""
        return Epoch(
            number=number,
            loss=_mean(position.losses),
            scores=self.score(position),
            alignment=self.alignment(position.learned),
            seconds_per_step=_median(times.rule),
            seconds_per_step_of_backpropagation=_median(times.backpropagation),
            seconds_compiling=self.seconds_compiling,
            learned=position.learned,
            regime=self._regime(number, position.learned),
        )

    def _regime(self, number: int, learned: list[Learned]) -> Any:
        """The regime before training and after the last epoch, where there is one."""
        if number not in (0, self.start.work.epochs) or not has_regime(self.rule):
            return None
        numbers = {name: values[0] for name, values in self._numbers.items()}
        rule = self._rule(numbers)
        return regime_of(self.start.loss, rule, learned[0], self.start.batch)

    def alignment(self, learned: list[Learned]) -> Any:
        """Alignment with backprop's gradient on one batch of the training part."""
        pairs = list(zip(learned, self._by_group, strict=True))
        align = self._compile(self._align, *pairs[0], *self.start.batch)
        found = [align(*pair, *self.start.batch) for pair in pairs]
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)

    def score(self, position: Position, data: Data | None = None) -> Scores:
        """Mean loss on a test part, and how well its labels are met, by lane."""
        data = self.start.work.data if data is None else data
        x, y = data.test_x, data.test_y
        size = min(_TEST_CHUNK, len(y))
        pairs = list(zip(position.learned, self._by_group, strict=True))
        sums = np.zeros((3, self.lanes.count))
        for begin in range(0, len(y), size):
            # The last chunk is filled up from the front, so that one shape is compiled.
            places = np.arange(begin, begin + size)
            chosen = places % len(y)
            examples = x[chosen], y[chosen], places < len(y)
            score = self._compile(self._score, *pairs[0], *examples)
            sums += np.concatenate([score(*pair, *examples) for pair in pairs], axis=1)
        loss, score = sums[:2] / sums[2]
        return Scores(loss, score, _diverged(position) | np.isnan(score))

    def _compile(self, function: Callable, *args: Any) -> Callable:
        shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(args))
        key = (function.__name__, shapes)
        if key not in self._compiled:
            began = time.perf_counter()
            self._compiled[key] = jax.jit(function).lower(*args).compile()
            # A first call is slower than the others, so it is made here, for nothing.
            jax.block_until_ready(self._compiled[key](*args))
            self.seconds_compiling += time.perf_counter() - began
        return self._compiled[key]

    def _rule(self, numbers: dict[str, Any]) -> Any:
        return replace(self.rule, **numbers)

    def _step(self, numbers: dict[str, Any], rate: Any, training: bool = True) -> Any:
        loss = self.start.loss
        return apical.train_step(
            loss.training if training else loss.evaluation,
            self._rule(numbers),
            self.start.work.optimizer(rate),
            **loss.setting,
        )

    def _advance(
        self, learned: Learned, rates: Any, numbers: Any, x: Any, y: Any, order: Any
    ) -> tuple[Learned, jax.Array]:
        def one_lane(learned: Learned, rate: Any, numbers: Any, chosen: Any) -> Any:
            params, statistics, state = learned
            step = self._step(numbers, rate)
            args = statistics, x[chosen], y[chosen]
            params, state, credit = step(params, state, *args)
            return Learned(params, credit.aux, state), credit.value

        def step(learned: Learned, chosen: Any) -> Any:
            return jax.vmap(one_lane)(learned, rates, numbers, chosen)

        if len(order) > 1:
            return jax.lax.scan(step, learned, order)
        # Even a loop of one step is slow for convolutions: see `apical.lab.models`.
        learned, loss = step(learned, order[0])
        return learned, loss[None]

    def _align(self, learned: Learned, numbers: Any, x: Any, y: Any) -> Any:
        def one_lane(learned: Learned, numbers: Any) -> Any:
            params, statistics, state = learned
            loss = self.start.loss
            learner = apical.value_and_grad(
                loss.training, self._rule(numbers), **loss.setting
            )
            align = apical.measure.alignment(learner)
            return align(params, state.rule, statistics, x, y)

        return jax.vmap(one_lane)(learned, numbers)

    def _score(self, learned: Learned, numbers: Any, x: Any, y: Any, real: Any) -> Any:
        def one_lane(learned: Learned, numbers: Any) -> Any:
            params, statistics, state = learned
            # Rules that move state and parameters together predict by their step only.
            step = self._step(numbers, self.start.work.learning_rate, training=False)
            outputs = step.predict(params, state, statistics, x, y)
            return _scores(self.start.loss, outputs, y, real)

        return jnp.stack(jax.vmap(one_lane)(learned, numbers))


def _scores(loss: Loss, outputs: Any, y: Any, real: Any) -> tuple[Any, Any, Any]:
    """Sums over the examples that are real: of the loss, of the score, and of ones."""
    losses, scores = loss.of_each(outputs, y), loss.labels.score_of_each(outputs, y)
    axes = (-1, *[1] * (losses.ndim - 1))
    weight = jnp.broadcast_to(real.reshape(axes), losses.shape)
    score = jnp.where(weight, scores, 0).sum()
    known = jnp.where(jnp.isfinite(outputs).all(), score, jnp.nan)
    return (losses * weight).sum(), known, weight.sum()


def _groups(start: Start, lanes: Lanes) -> list[slice]:
    """Which lanes are trained together in one compiled call: all, where that pays.

    A convolution with weights of its own for each lane becomes a grouped convolution,
    which XLA runs slowly on CPUs: 1.2 times faster a lane on pictures of 8 x 8, but 3
    to 4 times slower on those of 28 x 28 and 32 x 32.
    """
    work = start.work
    small = np.prod(work.data.shape[1:]) <= 8 * 8
    if small or not work.model.convolves or jax.default_backend() != "cpu":
        return [slice(0, lanes.count)]
    return [slice(i, i + 1) for i in range(lanes.count)]


def _next_epoch(position: Position, diverged: np.ndarray) -> Position:
    nothing = position.losses[:0]
    return Position(position.epoch + 1, 0, nothing, diverged, position.learned)


def _slice(tree: Any, group: slice) -> Any:
    return jax.tree.map(lambda leaf: leaf[group], tree)


def _diverged(position: Position) -> np.ndarray:
    """Which lanes have left the finite numbers, up to here."""
    return position.diverged | ~np.isfinite(position.losses).all(0)


def _mean(losses: np.ndarray) -> np.ndarray:
    return losses.mean(0) if len(losses) else np.full(losses.shape[1], np.nan)


def _median(times: list[float]) -> float:
    return median(times) if times else float("nan")
