"""Train one model with one rule, all seeds at once.

An epoch is a Python loop over compiled calls of a few training steps each, so that
progress can be told, and a step of backpropagation timed, in between.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import apical
from apical.lab._control import only_readout, readout_alignment
from apical.lab._models import evaluation_loss, training_loss
from apical.lab._registry import Entry
from apical.lab._start import Start, parts, seed_groups

# loss_fn(params, running, x, y): the running statistics belong to no example.
_BATCH = (None, 0, 0)
_TEST_CHUNK = 500
_BASELINE_EVERY = 4


class Learned(NamedTuple):
    """All that training changes, stacked over the seeds of a group."""

    params: Any
    running: Any
    state: Any


class Epoch(NamedTuple):
    """What was measured after an epoch (0: before training); arrays over seeds."""

    number: int
    loss: np.ndarray
    accuracy: np.ndarray  # not a number where logits are not finite
    alignment: Any  # apical.measure.Alignment
    seconds_per_step: float  # of all seeds together; not a number at epoch 0
    seconds_per_step_of_baseline: float  # measured in turn with it
    seconds_compiling: float


class Times(NamedTuple):
    """Times of a step in one epoch, of the rule and of the baseline in turn with it."""

    rule: list[float]
    baseline: list[float]


def train(
    start: Start,
    entry: Entry,
    baseline: Callable[[], float] | None = None,
    on_steps: Callable[[int], None] = lambda steps: None,
) -> Iterator[Epoch]:
    """Train, and yield what was measured before training and after every epoch.

    Args:
        start: where every rule starts.
        entry: the rule.
        baseline: times a step of backpropagation; is called every now and then.
        on_steps: is told of every few training steps that have been made.

    Returns:
        An iterator over `start.setting.epochs + 1` epochs.
    """
    run = Run(start, entry)
    learned = run.begin()
    nothing = np.full(len(start.setting.seeds), np.nan)
    yield run.measure(0, learned, nothing, Times([], []))
    for number in range(1, start.setting.epochs + 1):
        learned, loss, times = run.epoch(learned, number, baseline, on_steps)
        yield run.measure(number, learned, loss, times)


Groups = list[Learned]


class Run:
    """The compiled functions of one rule, and what they learn, group by group."""

    def __init__(self, start: Start, entry: Entry):
        self.start, self.setting, self.entry = start, start.setting, entry
        self.groups = seed_groups(start.setting)
        self.rule = entry.make()
        self.seconds_compiling = 0.0
        self._compiled: dict[tuple, Any] = {}

    def begin(self) -> Groups:
        """Initial weights, statistics and states of every seed."""
        start = self.start

        def state(key: jax.Array, params: Any, running: Any) -> Any:
            own = jax.random.fold_in(key, 1)
            return self._step(training_loss, params).init(
                own, params, running, *start.batch
            )

        # Not compiled as a whole: drawing numbers compiles slowly, and piece by piece
        # the next rule finds the pieces ready.
        states = jax.vmap(state)(start.keys, start.params, start.running)
        every = Learned(start.params, start.running, states)
        return [
            jax.tree.map(lambda leaf, seeds=seeds: leaf[seeds], every)
            for seeds in self.groups
        ]

    def epoch(
        self,
        learned: Groups,
        number: int,
        baseline: Callable[[], float] | None,
        on_steps: Callable[[int], None],
    ) -> tuple[Groups, np.ndarray, Times]:
        """One pass over the training part: weights, mean losses, times of a step."""
        losses, times = [], Times([], [])
        for call, part in enumerate(parts(self.setting, number)):
            learned, loss, seconds = self.advance(learned, part)
            losses.append(loss)
            times.rule.append(seconds)
            # In turn with backprop, so that whatever else the machine does meanwhile
            # slows both alike.
            if baseline is not None and call % _BASELINE_EVERY == 0:
                times.baseline.append(baseline())
            on_steps(len(part))
        return learned, np.concatenate(losses).mean(0), times

    def advance(
        self, learned: Groups, part: np.ndarray
    ) -> tuple[Groups, np.ndarray, float]:
        """One training step for each batch in `part`: weights, losses, step time."""
        data = self.start.x, self.start.y
        order = [part[:, seeds] for seeds in self.groups]
        work = [
            (group, *data, batches)
            for group, batches in zip(learned, order, strict=True)
        ]
        advance = self._compile(self._advance, *work[0])
        began = time.perf_counter()
        after = jax.block_until_ready([advance(*args) for args in work])
        seconds = (time.perf_counter() - began) / len(part)
        losses = np.concatenate([loss for _, loss in after], axis=1)
        return [group for group, _ in after], losses, seconds

    def measure(
        self, number: int, learned: Groups, loss: np.ndarray, times: Times
    ) -> Epoch:
        """All that is recorded after an epoch."""
        return Epoch(
            number=number,
            loss=loss,
            accuracy=self.accuracy(learned),
            alignment=self.alignment(learned),
            seconds_per_step=_median(times.rule),
            seconds_per_step_of_baseline=_median(times.baseline),
            seconds_compiling=self.seconds_compiling,
        )

    def alignment(self, learned: Groups) -> Any:
        """Alignment with backprop's gradient on one batch of the training part."""
        align = self._compile(self._align, learned[0], *self.start.batch)
        found = [align(group, *self.start.batch) for group in learned]
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)

    def accuracy(self, learned: Groups) -> np.ndarray:
        """The fraction of the test part that each seed gets right."""
        x, y = self.setting.data.test_x, self.setting.data.test_y
        size = min(_TEST_CHUNK, len(y))
        right = np.zeros(len(self.setting.seeds))
        for begin in range(0, len(y), size):
            # The last chunk is filled up from the front, so that one shape is compiled.
            places = np.arange(begin, begin + size)
            chosen = places % len(y)
            pictures = x[chosen], y[chosen], places < len(y)
            count = self._compile(self._right, learned[0], *pictures)
            right += np.concatenate([count(group, *pictures) for group in learned])
        return right / len(y)

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

    def _step(self, loss: Callable, params: Any) -> Any:
        optimizer = self.setting.optimizer(self.setting.rate)
        if self.entry.readout_only:
            optimizer = only_readout(optimizer, params)
        return apical.train_step(loss, self.rule, optimizer, has_aux=True, batch=_BATCH)

    def _advance(
        self, learned: Learned, x: jax.Array, y: jax.Array, order: jax.Array
    ) -> tuple[Learned, jax.Array]:
        def one_seed(learned, chosen):
            params, running, state = learned
            step = self._step(training_loss, params)
            args = running, x[chosen], y[chosen]
            params, state, credit = step(params, state, *args)
            return Learned(params, credit.aux, state), credit.value

        step = jax.vmap(one_seed)
        if len(order) > 1:
            return jax.lax.scan(step, learned, order)
        # Even a loop of one step is slow for convolutions: see `MODELS`.
        learned, loss = step(learned, order[0])
        return learned, loss[None]

    def _align(self, learned: Learned, x: jax.Array, y: jax.Array) -> Any:
        align = apical.measure.alignment(
            training_loss, self.rule, has_aux=True, batch=_BATCH
        )
        if self.entry.readout_only:
            align = readout_alignment

        def one_seed(params, running, state):
            return align(params, state, running, x, y)

        return jax.vmap(one_seed)(*learned)

    def _right(
        self, learned: Learned, x: jax.Array, y: jax.Array, counts: jax.Array
    ) -> jax.Array:
        def one_seed(params, running, state):
            # Rules that move state and parameters together predict by their step only.
            step = self._step(evaluation_loss, params)
            logits = step.predict(params, state, running, x, y)
            right = ((logits.argmax(-1) == y) & counts).sum()
            return jnp.where(jnp.isfinite(logits).all(), right, jnp.nan)

        return jax.vmap(one_seed)(*learned)


def _median(times: list[float]) -> float:
    return median(times) if times else float("nan")
