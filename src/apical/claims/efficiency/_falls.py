"""How far the loss falls by the best step along a rule's answer to one example.

    fall = max over eta of E[L(w) - L(w - eta g)]

with g the rule's gradient of the hidden weights for one example, and the mean over
examples and over the rule's own noise. For a quadratic loss with curvature H and true
gradient b it is <b, E g>^2 / (2 E <g, H g>): bias shrinks the numerator, variance
enlarges the denominator.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import apical
from apical import rules

LENGTHS = tuple(np.geomspace(1e-4, 10.0, 16).tolist())  # of a step, in weights
BATCH, RATE = 32, 1e-3
READOUT = "readout"

Params = dict[str, Array]


def network(params: Params, x: Array) -> Array:
    """The logits of two tanh layers without biases."""
    h = jnp.tanh(jnp.tanh(x @ params["first"]) @ params["second"])
    return h @ params[READOUT]


def loss_fn(params: Params, x: Array, y: Array) -> Array:
    """The cross-entropy."""
    found = network(params, x)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(found, y))


def initial_weights(key: Array, inputs: int, width: int, classes: int) -> Params:
    """Normal weights with variance 1 / (number of inputs)."""
    sizes = {
        "first": (inputs, width),
        "second": (width, width),
        READOUT: (width, classes),
    }
    keys = jax.random.split(key, len(sizes))
    return {
        name: jax.random.normal(k, size) / size[0] ** 0.5
        for k, (name, size) in zip(keys, sizes.items(), strict=True)
    }


class Draws(NamedTuple):
    """A rule's gradients for single examples, and backpropagation's for the same.

    Attributes:
        ours: each leaf `[draws, ...]`; that of the readout is 0.
        theirs: the same.
    """

    ours: Params
    theirs: Params


def gradients(rule: rules.Rule, data: Any, at: Any, key: Array, draws: int) -> Draws:
    """The rule's answers to examples drawn at random, at these weights.

    Args:
        rule: any rule.
        data: examples and labels.
        at: weights, and the state of the rule.
        key: draws the examples.
        draws: how many.
    """
    x, y = data
    params, state = at
    learner = apical.value_and_grad(loss_fn, rule)
    rows = jax.random.randint(key, (draws,), 0, len(x))

    def one(state: Any, row: Array) -> tuple[Any, tuple[Params, Params]]:
        example = x[row][None], y[row][None]
        credit = learner(params, state, *example)
        exact = jax.grad(loss_fn)(params, *example)
        return credit.state, (_hidden(credit.grads), _hidden(exact))

    _, found = jax.lax.scan(one, state, rows)
    return Draws(*found)


def _hidden(grads: Params) -> Params:
    return grads | {READOUT: jnp.zeros_like(grads[READOUT])}


def familiar(
    rule: rules.Rule, data: Any, params: Params, key: Array, steps: int
) -> Any:
    """Weights and state after training by the rule itself (Adam).

    Rules with feedback weights of their own do not agree with the forward weights
    before.
    """
    x, y = data
    step = apical.train_step(loss_fn, rule, optax.adam(RATE))
    first, later = jax.random.split(key)
    state = step.init(first, params, x[:BATCH], y[:BATCH])

    def update(at: Any, key: Array) -> tuple[Any, None]:
        rows = jax.random.randint(key, (BATCH,), 0, len(x))
        params, state, _ = step(*at, x[rows], y[rows])
        return (params, state), None

    (params, state), _ = jax.lax.scan(
        update, (params, state), jax.random.split(later, steps)
    )
    return params, state.rule


def falls(params: Params, grads: Params, data: Any) -> Array:
    """The mean fall of the loss by steps of each length, `[lengths]`.

    A length is that of a step along a gradient of root mean square size.

    Args:
        params: the weights.
        grads: each leaf `[draws, ...]`.
        data: examples and labels on which the loss is measured.
    """
    before = loss_fn(params, *data)
    size = jnp.sqrt(jnp.mean(jax.vmap(_square)(grads)))

    def mean_fall(length: Array) -> Array:
        eta = length / jnp.where(size > 0, size, 1)

        def one(grad: Params) -> Array:
            moved = jax.tree.map(lambda w, g: w - eta * g, params, grad)
            return before - loss_fn(moved, *data)

        return jnp.mean(jax.lax.map(one, grads, batch_size=16))

    return jax.lax.map(mean_fall, jnp.asarray(LENGTHS))


def _square(grad: Params) -> Array:
    return sum((jnp.sum(g**2) for g in grad.values()), jnp.zeros(()))


def bias_and_variance(draws: Draws) -> dict[str, Array]:
    """The cosine of the mean gradient with backpropagation's, and the variance.

    Returns:
        `cosine_of_mean` (1: no bias but of size), `cosine` (the mean of single ones,
        with backpropagation's mean), and `variance`, E|g - E g|^2 / |E g|^2, which for
        a rule without noise is that of the examples.
    """
    mean, truth = (jax.tree.map(lambda g: g.mean(0), each) for each in draws)
    apart = jax.tree.map(lambda g, m: g - m, draws.ours, mean)
    singles = jax.vmap(lambda grad: _cosine(grad, truth))(draws.ours)
    return {
        "cosine_of_mean": _cosine(mean, truth),
        "cosine": singles.mean(),
        "variance": jax.vmap(_square)(apart).mean() / _square(mean),
    }


def _cosine(one: Params, other: Params) -> Array:
    product = sum((jnp.sum(one[k] * other[k]) for k in one), jnp.zeros(()))
    return product / jnp.sqrt(_square(one) * _square(other))
