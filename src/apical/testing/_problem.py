"""The built-in problems of `check_rule`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..rules import Rule
from ..rules._learner import Learner, Nodes, value_and_grad


class Stream(NamedTuple):
    """How the sequence of a problem is cut into calls that `carry=` joins.

    Attributes:
      steps: the number of steps of the sequence.
      window: `window(args, carry, begin, end)`: the arguments of a call of some steps.
    """

    steps: int
    window: Callable[..., tuple[Any, ...]]


class Problem(NamedTuple):
    """A learner, and parameters and arguments to test it on."""

    name: str
    learner: Learner
    params: Any
    args: tuple[Any, ...]
    stream: Stream | None = None


def built_in(rule: Rule, nodes: Nodes | None = None) -> tuple[Problem, ...]:
    """A very small perceptron, recurrent network and residual network.

    Rules through time are tested on a sequence that `carry=` continues, too.
    """
    found = _perceptron(rule, nodes), _recurrent(rule, nodes), _residual(rule, nodes)
    return (*found, _continued(rule, nodes)) if rule.through_time else found


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


def _continued(rule: Rule, nodes: Nodes | None) -> Problem:
    """Leaky recurrent units over six steps; where they begin is an argument."""

    def loss_fn(params: Any, h: jax.Array, x: jax.Array, y: jax.Array) -> Any:
        def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = 0.8 * h + jnp.tanh(h) @ params["recurrent"] + x @ params["inward"]
            return h, jnp.tanh(h) @ params["readout"]

        h, out = jax.lax.scan(step, h, x)
        return jnp.mean(jnp.sum((out - y) ** 2, axis=-1)), {"h": h}

    def window(args: tuple[Any, ...], h: jax.Array, begin: int, end: int) -> Any:
        return h, *(part[begin:end] for part in args[1:])

    steps = 6
    params = {"recurrent": _normal(1, 4, 4), "inward": _normal(2, 3, 4)}
    params |= {"readout": _normal(3, 4, 2)}
    args = (_normal(6, 2, 4), _normal(4, steps, 2, 3), _normal(5, steps, 2, 2))
    told = {"has_aux": True, "batch_axes": (0, 1, 1), "carry": (0, "h")}
    learner = value_and_grad(loss_fn, rule, nodes=nodes, **told)
    return Problem("continued", learner, params, args, Stream(steps, window))
