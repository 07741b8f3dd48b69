"""Learning from a stream whose input and label change at every tick.

    x[t] = a x[t-1] + sqrt(1 - a^2) xi[t],        a = exp(-1 / tau)
    y[t] = teacher(x[t])

xi are new normal numbers, so that each input is normal at every tick and forgets its
past in tau ticks. The teacher is a network with fixed weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import apical
from apical import rules
from apical.lab._control_rules import UntrainedHiddenLayers

Params = tuple[Array, ...]
LOCKSTEP, SETTLED = "values and weights in lockstep", "values settle at each tick"
BACKPROP, READOUT = "backprop at each tick", "untrained hidden layers"
RULES = (LOCKSTEP, SETTLED, BACKPROP, READOUT)
VALUE_RATE = 0.2
SETTLING_STEPS = 64  # of values that settle at each tick
_WATCHED = 400  # ticks, in which the settling time is found
_SMALL = 1 / math.e  # of the distance to rest


class Form(NamedTuple):
    """The size of the networks and the length of a run.

    Attributes:
        channels: of the input.
        teacher: hidden units of the teacher.
        units: of each of the two hidden layers of the network that learns.
        ticks: of a run.
    """

    channels: int
    teacher: int
    units: int
    ticks: int


class Run(NamedTuple):
    """What differs between runs; arrays of one entry per run.

    Attributes:
        seed: of weights and inputs.
        tau: in ticks, in which the input forgets its past.
        rate: the step size of the weights.
    """

    seed: Array
    tau: Array
    rate: Array


def rule_of(name: str) -> rules.Rule:
    """The rule of a row."""
    free = {"prediction": "free", "rate": VALUE_RATE}
    made: dict[str, Callable[[], rules.Rule]] = {
        LOCKSTEP: lambda: rules.IncrementalPredictiveCoding(
            1, VALUE_RATE, streaming=True
        ),
        SETTLED: lambda: rules.PredictiveCoding(SETTLING_STEPS, **free),
        BACKPROP: rules.Backpropagation,
        READOUT: UntrainedHiddenLayers,
    }
    return made[name]()


def weights(key: Array, *sizes: int) -> Params:
    """Normal weights with variance 1 / fan-in."""
    keys = jax.random.split(key, len(sizes) - 1)
    return tuple(
        jax.random.normal(k, ends) / math.sqrt(ends[0])
        for k, ends in zip(keys, pairwise(sizes), strict=True)
    )


def outputs(params: Params, x: Array) -> Array:
    """The output `(examples, 1)` of layers of tanh."""
    *hidden, last = params
    for weight in hidden:
        x = jnp.tanh(x @ weight)
    return x @ last


def loss_fn(params: Params, x: Array, y: Array) -> Array:
    """Half the squared error."""
    return 0.5 * jnp.mean((apical.output(outputs(params, x)) - y) ** 2)


def _step(name: str, optimizer: optax.GradientTransformation) -> Any:
    return apical.train_step(
        loss_fn,
        rule_of(name),
        optimizer,
        batch_axes=(0, 0),
        target=lambda x, y: y,
        input_argnums=1,
    )


def relative_errors(name: str, form: Form, runs: Run) -> Array:
    """The squared error of each tick over the variance of the label `(runs, ticks)`.

    It is that of a forward pass before the update that the tick leads to.

    Args:
        name: one of `RULES`.
        form: the sizes.
        runs: one entry per run.
    """
    return jax.jit(jax.vmap(partial(_errors, name, form)))(runs)


def stream(form: Form, key: Array, tau: Array) -> tuple[Array, Array]:
    """Inputs `(ticks, 1, channels)` and labels `(ticks, 1, 1)`."""
    keys = jax.random.split(key)
    kept = jnp.exp(-1 / tau)
    noise = jax.random.normal(keys[0], (form.ticks, 1, form.channels))
    teacher = weights(keys[1], form.channels, form.teacher, 1)

    def tick(x: Array, new: Array) -> tuple[Array, Array]:
        x = kept * x + jnp.sqrt(1 - kept**2) * new
        return x, x

    _, xs = jax.lax.scan(tick, noise[0], noise)
    return xs, jax.vmap(partial(outputs, teacher))(xs)


def _errors(name: str, form: Form, run: Run) -> Array:
    keys = jax.random.split(jax.random.key(run.seed), 3)
    params = weights(keys[0], form.channels, form.units, form.units, 1)
    xs, ys = stream(form, keys[1], run.tau)
    state = _step(name, optax.sgd(1.0)).init(keys[2], params, xs[0], ys[0])
    step = _step(name, optax.sgd(run.rate))

    def tick(at: Any, now: Any) -> tuple[Any, Array]:
        params, state, credit = step(*at, *now)
        return (params, state), credit.value

    _, losses = jax.lax.scan(tick, (params, state), (xs, ys))
    return 2 * losses / jnp.var(ys)


def settling_time(form: Form, seeds: tuple[int, ...]) -> float:
    """The ticks in which values come as near to rest as 1/e of the way, the mean.

    At the initial weights: values rest, input and label become others that are drawn
    independently, and the distance to the new rest falls.
    """
    return float(np.mean([_settling_time(form, seed) for seed in seeds]))


def _settling_time(form: Form, seed: int) -> int:
    keys = jax.random.split(jax.random.key(seed), 3)
    params = weights(keys[0], form.channels, form.units, form.units, 1)
    xs, ys = stream(form._replace(ticks=2), keys[1], jnp.asarray(1e-3))
    step = _step(LOCKSTEP, optax.set_to_zero())

    def course(state: Any, x: Array, y: Array) -> tuple[Any, Array]:
        def tick(state: Any, _: None) -> tuple[Any, Array]:
            _, state, _ = step(params, state, x, y)
            values = jax.tree.leaves(state.rule.values)
            return state, jnp.concatenate([value.ravel() for value in values])

        return jax.lax.scan(tick, state, None, _WATCHED)

    begin = step.init(keys[2], params, xs[0], ys[0])
    rested, before = jax.jit(course)(begin, xs[0], ys[0])
    _, after = jax.jit(course)(rested, xs[1], ys[1])
    way = np.concatenate([np.asarray(before[-1:]), np.asarray(after)])
    far = np.linalg.norm(way - way[-1], axis=1)
    return int(np.argmax(far <= _SMALL * far[0]))
