"""The built-in problems of `check_rule`."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..rules import Rule
from ..rules._learner import Learner, Nodes, value_and_grad


class Problem(NamedTuple):
    """A learner, and parameters and arguments to test it on."""

    name: str
    learner: Learner
    params: Any
    args: tuple[Any, ...]


def built_in(rule: Rule, nodes: Nodes | None = None) -> tuple[Problem, ...]:
    """A very small perceptron, recurrent network and residual network."""
    return _perceptron(rule, nodes), _recurrent(rule, nodes), _residual(rule, nodes)


def _target(x: jax.Array, y: jax.Array) -> jax.Array:
    del x
    return y


def _normal(seed: int, *shape: int) -> jax.Array:
    draw = np.random.default_rng((seed, *shape))
    return jnp.asarray(
        draw.normal(size=shape) / shape[0] ** 0.5, jnp.result_type(float)
    )


def _perceptron(rule: Rule, nodes: Nodes | None) -> Problem:
    """Two hidden layers; one leaf of integers, which is not learned."""

    def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        h = jnp.tanh(x @ params["first"] + params["bias"])
        h = jnp.tanh(h @ params["second"])[:, params["order"]]
        return jnp.sum((h @ params["third"] - y) ** 2) / len(x)

    params = {"first": _normal(1, 3, 4), "bias": _normal(2, 4)}
    params |= {"second": _normal(3, 4, 4), "third": _normal(4, 4, 2)}
    params |= {"order": jnp.arange(4)[::-1]}
    args = (_normal(5, 3, 3), _normal(6, 3, 2))
    learner = value_and_grad(loss_fn, rule, target=_target, nodes=nodes)
    return Problem("perceptron", learner, params, args)


def _recurrent(rule: Rule, nodes: Nodes | None) -> Problem:
    """A scan over three steps; the examples are on the second axis."""

    def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
            return jnp.tanh(h @ params["recurrent"] + x @ params["inward"]), None

        h, _ = jax.lax.scan(step, jnp.zeros((x.shape[1], 4), x.dtype), x)
        return jnp.sum((h @ params["readout"] - y) ** 2) / len(y)

    params = {"recurrent": _normal(1, 4, 4), "inward": _normal(2, 3, 4)}
    params |= {"readout": _normal(3, 4, 2)}
    args = (_normal(4, 3, 2, 3), _normal(5, 2, 2))
    learner = value_and_grad(
        loss_fn, rule, batch_axes=(1, 0), target=_target, nodes=nodes
    )
    return Problem("recurrent", learner, params, args)


def _residual(rule: Rule, nodes: Nodes | None) -> Problem:
    """A residual block; the loss is a sum over the examples, and has aux."""

    def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any]:
        stream = x @ params["embed"]
        up, down = params["block"]
        stream = stream + jnp.tanh(stream @ up) @ down
        out = jnp.tanh(stream) @ params["readout"]
        return jnp.sum((out - y) ** 2), {"mean": jnp.mean(stream, axis=0)}

    params = {"embed": _normal(1, 3, 4), "block": (_normal(2, 4, 5), _normal(3, 5, 4))}
    params |= {"readout": _normal(4, 4, 2)}
    args = (_normal(5, 3, 3), _normal(6, 3, 2))
    learner = value_and_grad(
        loss_fn, rule, has_aux=True, reduction="sum", target=_target, nodes=nodes
    )
    return Problem("residual", learner, params, args)
