"""A layer, an operation and a read-out: one loss for tests of sites and outputs."""

import jax.numpy as jnp

from support.laws import normal, traced

X, Y = normal(1, 5, 3), normal(2, 5, 2)
BIAS = {"b": normal(3, 4, size=0.3), "o": normal(4, 2, size=0.3)}
PARAMS = {"a": normal(5, 3, 4), "c": normal(6, 4, 2), **BIAS}


def network(operation, params, x):
    h = operation(x @ params["a"] + params["b"])
    return h @ params["c"][: h.shape[-1]] + params["o"]


def below_a_synapse(operation, **keywords):
    def loss_fn(params, x):
        return jnp.mean(network(operation, params, x) ** 2)

    return traced(loss_fn, PARAMS, X, **keywords)
