"""A network and the ways to call a learner on it."""

import jax
import jax.numpy as jnp
import numpy as np

import apical
from apical import rules

KEY = jax.random.key(0)

_draw = np.random.default_rng(0)

PARAMS = {
    "a": jnp.asarray(_draw.normal(size=(3, 4)), float),
    "b": jnp.asarray(_draw.normal(size=(4, 2)), float),
}

WIDER = {"a": jnp.ones((3, 6)), "b": jnp.ones((6, 2))}

DEEPER = {**PARAMS, "c": jnp.eye(2)}

X, Y = jnp.asarray(_draw.normal(size=(5, 3)), float), jnp.ones((5, 2))

FA = rules.FeedbackAlignment()


def loss_fn(params, x, y):
    out = jnp.tanh(x @ params["a"]) @ params["b"]
    return jnp.mean((out @ params.get("c", jnp.eye(2)) - y) ** 2)


def init(rule=FA, params=PARAMS, args=(X, Y), loss=loss_fn, **keywords):
    return apical.value_and_grad(loss, rule, **keywords).init(KEY, params, *args)


def call(state, rule=FA, **keywords):
    return apical.value_and_grad(loss_fn, rule, **keywords)(PARAMS, state, X, Y)
