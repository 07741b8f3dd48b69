"""A recurrent network that follows another one, whose weights turn while it learns.

    h[t] = d h[t-1] + (1 - d) tanh(W x[t] + U h[t-1]),         d = exp(-1 / tau)
    y[t] = V h[t]

The teacher has the same equations and fewer units. Each of its weights turns, so that
its size stays the same on average:

    W(t) = cos(omega t) A + sin(omega t) B

A and B are drawn. Inputs are new normal numbers at each step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

import apical

TAU = 10.0  # steps
_DECAY = math.exp(-1 / TAU)
_RECURRENT_GAIN = 1.5
Params = dict[str, Array]
EPROP, RTRL = "e-prop", "RTRL"
WINDOWS, READOUT = "backpropagation in windows", "untrained hidden units"
RULES = (EPROP, RTRL, WINDOWS, READOUT)


class Form(NamedTuple):
    """The size of the networks and the length of a run.

    Attributes:
        channels: of the input.
        teacher: units of the teacher.
        units: of the network that learns.
        steps: of a run.
        window: steps between two updates of backpropagation in windows.
    """

    channels: int
    teacher: int
    units: int
    steps: int
    window: int


class Run(NamedTuple):
    """What differs between runs; arrays of one entry per run.

    Attributes:
        seed: of weights and inputs.
        omega: the angle by which the teacher's weights turn at a step.
        rate: the step size of gradient descent.
    """

    seed: Array
    omega: Array
    rate: Array


def weights(key: Array, channels: int, units: int) -> Params:
    """Normal weights with variance 1 / fan-in; recurrent ones larger."""
    ends = {
        "incoming": (channels, units),
        "recurrent": (units, units),
        "readout": (units, 1),
    }
    gains = {"incoming": 1.0, "recurrent": _RECURRENT_GAIN, "readout": 1.0}
    return {
        name: gains[name] / math.sqrt(fans[0]) * jax.random.normal(k, fans)
        for k, (name, fans) in zip(jax.random.split(key, 3), ends.items(), strict=True)
    }


def advance(params: Params, h: Array, x: Array) -> tuple[Array, Array]:
    """The next state `(examples, units)` and the output `(examples, 1)`."""
    driven = jnp.tanh(x @ params["incoming"] + h @ params["recurrent"])
    h = _DECAY * h + (1 - _DECAY) * driven
    return h, h @ params["readout"]


def error_of_step(
    params: Params, h: Array, x: Array, target: Array
) -> tuple[Array, dict[str, Array]]:
    """Half the squared error of one step, and the state after it."""
    h, y = advance(params, h, x)
    return 0.5 * jnp.mean((y - target) ** 2), {"end": h}


def error_of_window(
    params: Params, h: Array, xs: Array, targets: Array
) -> tuple[Array, tuple[Array, Array]]:
    """The mean of the errors of a window; its last state and each error."""

    def step(h: Array, now: Any) -> tuple[Array, Array]:
        error, aux = error_of_step(params, h, *now)
        return aux["end"], error

    h, errors = jax.lax.scan(step, h, (xs, targets))
    return jnp.mean(errors), (h, errors)


def relative_errors(rule: str, form: Form, runs: Run) -> Array:
    """The squared error of each step over the variance of the target, `(runs, steps)`.

    Each output is compared before the update that it leads to.

    Args:
        rule: one of `RULES`.
        form: the sizes.
        runs: one entry per run.
    """
    update = _in_windows(form) if rule == WINDOWS else _at_every_step(rule, form)
    return jax.jit(jax.vmap(partial(_run, form, update)))(runs)


Update = Callable[[Params, Array, Array, Array], Array]


def _run(form: Form, learn: Update, run: Run) -> Array:
    keys = jax.random.split(jax.random.key(run.seed), 4)
    params = weights(keys[0], form.channels, form.units)
    from_, to = (weights(key, form.channels, form.teacher) for key in keys[1:3])
    xs = jax.random.normal(keys[3], (form.steps, 1, form.channels))
    angles = run.omega * jnp.arange(form.steps)

    def teach(h: Array, now: Any) -> tuple[Array, Array]:
        angle, x = now
        mix = partial(
            jax.tree.map, lambda a, b: jnp.cos(angle) * a + jnp.sin(angle) * b
        )
        return advance(mix(from_, to), h, x)

    _, targets = jax.lax.scan(teach, jnp.zeros((1, form.teacher)), (angles, xs))
    return 2 * learn(params, run.rate, xs, targets) / jnp.var(targets)


def _descend(params: Params, rate: Array, grads: Params) -> Params:
    return jax.tree.map(lambda p, g: p - rate * g, params, grads)


def _at_every_step(rule: str, form: Form) -> Update:
    """An update at each step, by eligibility traces that continue."""
    made = apical.rules.RTRL() if rule == RTRL else apical.rules.EProp()
    learner = apical.value_and_grad(
        error_of_step, made, has_aux=True, batch_axes=0, carry=(0, "end")
    )
    start, x, y = (jnp.zeros((1, n)) for n in (form.units, form.channels, 1))
    example = weights(jax.random.key(0), form.channels, form.units)
    traces = learner.init(jax.random.key(0), example, start, x, y)
    learned = ("readout",) if rule == READOUT else tuple(example)

    def learn(params: Params, rate: Array, xs: Array, targets: Array) -> Array:
        def step(carry: Any, now: Any) -> tuple[Any, Array]:
            params, traces, h = carry
            credit = learner(params, traces, h, *now)
            grads = {n: g * (n in learned) for n, g in credit.grads.items()}
            params = _descend(params, rate, grads)
            return (params, credit.state, credit.aux["end"]), credit.value

        return jax.lax.scan(step, (params, traces, start), (xs, targets))[1]

    return learn


def _in_windows(form: Form) -> Update:
    """An update after each window, by backpropagation to its first step."""
    differentiate = jax.grad(error_of_window, has_aux=True)

    def learn(params: Params, rate: Array, xs: Array, targets: Array) -> Array:
        def step(carry: Any, window: Any) -> tuple[Any, Array]:
            params, h = carry
            grads, (h, errors) = differentiate(params, h, *window)
            return (_descend(params, rate, grads), h), errors

        cut = (a.reshape(-1, form.window, *a.shape[1:]) for a in (xs, targets))
        start = jnp.zeros((1, form.units))
        return jax.lax.scan(step, (params, start), tuple(cut))[1].ravel()

    return learn
