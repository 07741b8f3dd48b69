"""A small network of spiking neurons with adaptive thresholds, and its training (LSNN).

    v[t] = alpha v[t-1] + (1 - alpha) / theta (W x[t] + U s[t-1]) - s[t-1]
    a[t] = rho a[t-1] + s[t-1]
    s[t] = 1 if v[t] > 1 + beta a[t], and none of the last spikes is too recent
    y[t] = kappa y[t-1] + (1 - kappa) V s[t]

The unit of potentials is the threshold theta. An answer is the mean of y over a period.
W and U are drawn with the variance 1 / fan-in, V as Glorot's uniform; U has no
self-connections.

Source: Bellec, Salaj, Subramoney, Legenstein & Maass 2018, NeurIPS, arXiv:1803.09574;
the numbers of its published code for store-recall.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from apical import spiking
from apical.lab.data.tasks._store_recall import store_recall_examples

_DECAY = math.exp(-1 / 20)  # of potentials and outputs
_GAIN = (1 - _DECAY) / 0.01  # the threshold is 0.01
_STRENGTH = 1.7 / 0.01  # of an adaptation that is scaled by 1 - rho
_SILENT = 3  # steps after a spike
_SPIKE = spiking.triangle(height=0.3)


class Form(NamedTuple):
    """The size of the task and of the training.

    Attributes:
        units: of the network.
        memory: time constant of adaptation, in steps.
        channels: of the input; this and the next four as in `store_recall_examples`.
        periods: of a sequence.
        steps: of a period.
        wait: expected number of periods between two commands.
        rate: probability of a spike of an active channel at a step.
        batch: sequences of an iteration.
        iterations: of training; the step size falls to 0.3 of itself after half.
        tested: batches of the test.
    """

    units: int
    memory: float
    channels: int
    periods: int
    steps: int
    wait: int
    rate: float
    batch: int
    iterations: int
    tested: int

    def examples(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """A batch of sequences and their labels."""
        names = ("channels", "periods", "steps", "wait", "rate")
        task = {name: getattr(self, name) for name in names}
        return store_recall_examples(self.batch, seed, **task)


class Params(NamedTuple):
    """W, U and V."""

    incoming: Array
    recurrent: Array
    readout: Array


def initial_params(key: Array, form: Form) -> Params:
    """Weights of a new network."""
    channels, units = form.channels, form.units
    first, second, third = jax.random.split(key, 3)
    most = math.sqrt(6 / (units + 2))
    return Params(
        jax.random.normal(first, (channels, units)) / math.sqrt(channels),
        jax.random.normal(second, (units, units)) / math.sqrt(units),
        jax.random.uniform(third, (units, 2), minval=-most, maxval=most),
    )


def answers(params: Params, x: Array, adaptive: Array, form: Form) -> tuple[Any, Any]:
    """The mean output in each period, `(examples, periods, 2)`, and the spike rate.

    Args:
        params: the weights.
        x: spikes `(examples, time, channels)`.
        adaptive: 1 for units with an adaptive threshold, else 0.
        form: the task.
    """
    kept = math.exp(-1 / form.memory)
    neurons = partial(
        spiking.alif,
        decay=_DECAY,
        adaptation_decay=kept,
        adaptation_strength=_STRENGTH * (1 - kept) * adaptive,
        detach_reset=False,
        spike=_SPIKE,
    )
    others = params.recurrent * (1 - jnp.eye(form.units))
    shape = (len(x), form.units)

    def step(carry: Any, current: Array) -> tuple[Any, tuple[Array, Array]]:
        state, counter, y = carry
        current = current + _GAIN * (state.spikes @ others)
        state, spikes = neurons(state, current)
        counter, spikes = spiking.refractory(counter, spikes, steps=_SILENT)
        state = state._replace(spikes=spikes)
        y = _DECAY * y + (1 - _DECAY) * (spikes @ params.readout)
        return (state, counter, y), (y, spikes.mean())

    start = spiking.ALIFState.initial(shape), jnp.zeros(shape, jnp.int32)
    start = (*start, jnp.zeros((len(x), 2)))
    currents = _GAIN * (x.swapaxes(0, 1) @ params.incoming)
    _, (y, rates) = jax.lax.scan(step, start, currents)
    periods = y.reshape(form.periods, form.steps, len(x), 2).mean(1)
    return periods.swapaxes(0, 1), rates.mean()


class Course(NamedTuple):
    """The recall error over training, and on the test set.

    Attributes:
        errors: of each iteration, on its new batch, before the update.
        test_error: at the end, on sequences of another seed.
        rate: spikes per step and unit at the end.
    """

    errors: np.ndarray
    test_error: float
    rate: float


def learn(seed: int, adaptive_units: int, step_size: float, form: Form) -> Course:
    """Train a network on new sequences at each iteration, and test it.

    Args:
        seed: of weights and sequences.
        adaptive_units: how many units have an adaptive threshold.
        step_size: of Adam at the beginning.
        form: the sizes.
    """
    adaptive = jnp.asarray(np.arange(form.units) < adaptive_units, jnp.float32)
    update, test = _compiled(form)
    params = initial_params(jax.random.key(seed), form)
    state, errors = _ADAM.init(params), []
    for i, (x, y) in enumerate(_batches(seed, form.iterations, form, part=0)):
        rate = step_size * (1.0 if i < form.iterations / 2 else 0.3)
        params, state, error = update(params, state, rate, adaptive, x, y)
        errors.append(error)
    tested = [
        test(params, adaptive, x, y)
        for x, y in _batches(seed, form.tested, form, part=1)
    ]
    error, rate = np.mean(np.asarray(tested), axis=0)
    return Course(np.asarray(jnp.stack(errors)), float(error), float(rate))


_ADAM = optax.scale_by_adam()


@cache
def _compiled(form: Form) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A training step, and the error and spike rate of a batch."""

    def loss(
        params: Params, adaptive: Array, x: Array, y: Array
    ) -> tuple[Array, tuple[Array, Array]]:
        found, rate = answers(params, x, adaptive, form)
        asked, classes = y >= 0, jnp.maximum(y, 0)
        losses = optax.softmax_cross_entropy_with_integer_labels(found, classes)
        wrong = asked & (found.argmax(-1) != y)
        count = asked.sum()
        return (losses * asked).sum() / count, (wrong.sum() / count, rate)

    def update(
        params: Params, state: Any, rate: Any, adaptive: Array, x: Array, y: Array
    ) -> tuple[Any, Any, Any]:
        grads, (error, _) = jax.grad(loss, has_aux=True)(params, adaptive, x, y)
        updates, state = _ADAM.update(grads, state)
        moved = jax.tree.map(lambda w, u: w - rate * u, params, updates)
        return moved, state, error

    return jax.jit(update), jax.jit(lambda *args: loss(*args)[1])


def _batches(
    seed: int, number: int, form: Form, part: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches that differ from those of any other seed and part."""
    for i in range(number):
        drawn = np.random.SeedSequence((seed, part, i)).generate_state(1)[0]
        yield form.examples(int(drawn))
