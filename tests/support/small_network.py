"""A small network, rules of every kind, and functions to try them."""

import jax
import jax.numpy as jnp
import numpy as np

import apical
from apical.rules import (
    Backpropagation,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    LocalLosses,
    NodePerturbation,
    PredictiveCoding,
)

KEY = jax.random.key(0)
EVERY = [
    Backpropagation(),
    FeedbackAlignment(),
    DirectFeedbackAlignment(),
    PredictiveCoding(),
    LocalLosses(),
    NodePerturbation(),
]


def name_of(rule):
    return type(rule).__name__


def numbers(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


PARAMS = {"a": numbers(0, 4, 4) / 2, "b": numbers(1, 4, 4) / 2, "c": numbers(2, 4, 2)}
X, Y = numbers(3, 5, 4), numbers(4, 5, 2)


def between(middle):
    """A loss function with `middle(h, params)` between two layers."""

    def loss_fn(params, x, y):
        h = jnp.tanh(middle(jnp.tanh(x @ params["a"]), params))
        return jnp.mean((h @ params["c"] - y) ** 2)

    return loss_fn


def init(rule, loss_fn, params=PARAMS, args=(X, Y), **keywords):
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    return learner, learner.init(KEY, params, *args)


def credit(rule, loss_fn, params=PARAMS, args=(X, Y), **keywords):
    learner, state = init(rule, loss_fn, params, args, **keywords)
    return learner(params, state, *args)


def assert_equal(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
