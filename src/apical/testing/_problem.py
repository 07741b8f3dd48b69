"""The problems that a rule is tried on unless the caller brings one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Problem(NamedTuple):
    """A loss function to try a rule on, and the keywords that describe it."""

    name: str
    loss_fn: Callable[..., Any]
    params: Any
    args: tuple[Any, ...]
    keywords: dict[str, Any]


def built_in() -> tuple[Problem, ...]:
    """A perceptron, a recurrent network and a residual one, each as small as can be."""
    found = (_perceptron(), _recurrent(), _residual())
    return tuple(
        p._replace(keywords={**p.keywords, "target": lambda x, y: y}) for p in found
    )


def _normal(seed: int, *shape: int) -> jax.Array:
    draw = np.random.default_rng((seed, *shape))
    return jnp.asarray(
        draw.normal(size=shape) / shape[0] ** 0.5, jnp.result_type(float)
    )


def _perceptron() -> Problem:
    """Two hidden layers; one leaf of integers, which nobody learns."""

    def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        h = jnp.tanh(x @ params["first"] + params["bias"])
        h = jnp.tanh(h @ params["second"])[:, params["order"]]
        return jnp.sum((h @ params["third"] - y) ** 2) / len(x)

    params = {"first": _normal(1, 3, 4), "bias": _normal(2, 4)}
    params |= {"second": _normal(3, 4, 4), "third": _normal(4, 4, 2)}
    params |= {"order": jnp.arange(4)[::-1]}
    return Problem(
        "perceptron", loss_fn, params, (_normal(5, 3, 3), _normal(6, 3, 2)), {}
    )


def _recurrent() -> Problem:
    """A scan over three steps; the examples are on the second axis."""

    def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
            return jnp.tanh(h @ params["recurrent"] + x @ params["inward"]), None

        h, _ = jax.lax.scan(step, jnp.zeros((x.shape[1], 4), x.dtype), x)
        return jnp.sum((h @ params["readout"] - y) ** 2) / len(y)

    params = {"recurrent": _normal(1, 4, 4), "inward": _normal(2, 3, 4)}
    params |= {"readout": _normal(3, 4, 2)}
    args = (_normal(4, 3, 2, 3), _normal(5, 2, 2))
    return Problem("recurrent", loss_fn, params, args, {"batch_axes": (1, 0)})


def _residual() -> Problem:
    """A block beside a stream, its loss a sum over the examples; aux comes back too."""

    def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any]:
        stream = x @ params["embed"]
        up, down = params["block"]
        stream = stream + jnp.tanh(stream @ up) @ down
        out = jnp.tanh(stream) @ params["readout"]
        return jnp.sum((out - y) ** 2), {"mean": jnp.mean(stream, axis=0)}

    params = {"embed": _normal(1, 3, 4), "block": (_normal(2, 4, 5), _normal(3, 5, 4))}
    params |= {"readout": _normal(4, 4, 2)}
    keywords = {"has_aux": True, "reduction": "sum"}
    args = (_normal(5, 3, 3), _normal(6, 3, 2))
    return Problem("residual", loss_fn, params, args, keywords)
