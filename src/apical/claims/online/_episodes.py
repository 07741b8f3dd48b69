"""Episodes in which a network sees examples of one function, and its training.

    f(x) = tanh(2 (a . x + b)),      x in [-1, 1]²

with a on the unit circle and b in [-1/2, 1/2]. A new function is drawn for each
episode. In trial k the network is shown x_k and the value of the trial before,
f(x_{k-1}), and answers f(x_k) by its mean output over the second half of the trial.
Each number is shown by channels with bell-shaped responses. Weights do not change
within an episode: what it knows of f is in its state.

Source: Bellec, Salaj, Subramoney, Legenstein & Maass 2018, NeurIPS, arXiv:1803.09574;
Hochreiter, Younger & Conwell 2001.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import apical
from apical.claims.online._adaptive_net import AdaptiveNet, adaptive_net

_SHOWN = 3  # numbers in a trial
_STEEP = 2.0


class Form(NamedTuple):
    """The size of episodes and of the training.

    Attributes:
        trials: of an episode.
        steps: of a trial.
        channels: for each number that is shown.
        units: of the network.
        batch: episodes of an iteration.
        iterations: of training.
        tested: episodes of the test.
    """

    trials: int
    steps: int
    channels: int
    units: int
    batch: int
    iterations: int
    tested: int


class Episodes(NamedTuple):
    """Points `(examples, trials, 2)` and values `(examples, trials)`."""

    points: Array
    values: Array


def drawn_episodes(key: Array, number: int, trials: int) -> Episodes:
    """A new function and new points for each episode."""
    of_angle, of_offset, of_points = jax.random.split(key, 3)
    angle = jax.random.uniform(of_angle, (number, 1), maxval=2 * jnp.pi)
    offset = jax.random.uniform(of_offset, (number, 1), minval=-0.5, maxval=0.5)
    points = jax.random.uniform(of_points, (number, trials, 2), minval=-1.0)
    along = points[..., 0] * jnp.cos(angle) + points[..., 1] * jnp.sin(angle)
    return Episodes(points, jnp.tanh(_STEEP * (along + offset)))


def shown(form: Form, points: Array, values: Array) -> Array:
    """The input `(examples, time, channels)`: points, and the values before them."""
    before = jnp.pad(values, ((0, 0), (1, 0)))[:, :-1]
    numbers = jnp.concatenate([points, before[..., None]], axis=-1)
    centres = jnp.linspace(-1.0, 1.0, form.channels)
    width = 2.0 / (form.channels - 1)
    responses = jnp.exp(-0.5 * ((numbers[..., None] - centres) / width) ** 2)
    return jnp.repeat(responses.reshape(*responses.shape[:2], -1), form.steps, axis=1)


def answers(net: AdaptiveNet, form: Form, x: Array) -> Array:
    """The mean output over the second half of each trial, `(examples, trials)`."""
    outputs = net(x)[..., 0].reshape(len(x), form.trials, form.steps)
    return outputs[..., form.steps // 2 :].mean(-1)


def error(net: AdaptiveNet, form: Form, x: Array, values: Array) -> Array:
    """Half the squared error, the mean over episodes and trials."""
    return 0.5 * jnp.mean((answers(net, form, x) - values) ** 2)


class Course(NamedTuple):
    """What a trained network does in new episodes.

    Attributes:
        errors: squared error of each trial, `(trials,)`.
        misled: the same, where the shown values are those of another function.
        linear: that of least squares on the examples so far.
        variance: of the values: the error of the answer 0.
    """

    errors: np.ndarray
    misled: np.ndarray
    linear: np.ndarray
    variance: float


def learn(rule: apical.rules.Rule, seed: int, rate: float, form: Form) -> Course:
    """Train a network on new episodes at each iteration, then test it on new ones.

    Args:
        rule: that trains it.
        seed: of weights and episodes.
        rate: the step size of Adam.
        form: the sizes.
    """
    of_weights, of_training, of_test = jax.random.split(jax.random.key(seed), 3)
    shape = form.trials * form.steps, _SHOWN * form.channels
    net: Any = adaptive_net(form.units)(of_weights, shape, 1)

    def loss_fn(net: Any, x: Array, y: Array) -> Array:
        return error(net, form, x, y)

    learner = apical.value_and_grad(loss_fn, rule)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    def batch(key: Array) -> tuple[Array, Array]:
        points, values = drawn_episodes(key, form.batch, form.trials)
        return shown(form, points, values), values

    state = learner.init(of_weights, net, *jax.jit(batch)(of_training))

    def iterate(carry: Any, key: Array) -> tuple[Any, Array]:
        net, state, moments = carry
        credit = learner(net, state, *batch(key))
        updates, moments = optimizer.update(credit.grads, moments, net)
        net = optax.apply_updates(net, updates)
        return (net, credit.state, moments), credit.value

    keys = jax.random.split(of_training, form.iterations)
    params: Any = net
    carry = net, state, optimizer.init(params)
    (net, *_), _ = jax.jit(partial(jax.lax.scan, iterate))(carry, keys)
    return tested(net, drawn_episodes(of_test, form.tested, form.trials), form)


def tested(net: AdaptiveNet, episodes: Episodes, form: Form) -> Course:
    """The errors of a network with fixed weights in these episodes."""
    points, values = episodes
    answer: Callable[[Array], Array] = jax.jit(lambda x: answers(net, form, x))
    others = jnp.roll(values, 1, axis=0)
    found, misled = (answer(shown(form, points, told)) for told in (values, others))
    truth = np.asarray(values, float)
    return Course(
        np.mean((np.asarray(found, float) - truth) ** 2, axis=0),
        np.mean((np.asarray(misled, float) - truth) ** 2, axis=0),
        least_squares_errors(np.asarray(points, float), truth),
        float(np.mean(truth**2)),
    )


def least_squares_errors(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The squared error in each trial of a linear fit to those before (ridge 0.1)."""
    with_one = np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=-1)
    errors = []
    for k in range(points.shape[1]):
        past, told = with_one[:, :k], values[:, :k]
        left = np.einsum("nki,nkj->nij", past, past) + 0.1 * np.eye(3)
        right = np.einsum("nki,nk->ni", past, told)
        fit = np.linalg.solve(left, right[..., None])[..., 0]
        guess = np.einsum("ni,ni->n", with_one[:, k], fit)
        errors.append(np.mean((guess - values[:, k]) ** 2))
    return np.array(errors)
