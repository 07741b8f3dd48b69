"""A network written by hand, in numpy, and the distance between two trees."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def layers(*widths: int, seed: int = 0) -> list[dict[str, jax.Array]]:
    draw = np.random.default_rng(seed)
    return [
        {"w": array(draw, rows, columns) / rows**0.5, "b": 0.1 * array(draw, columns)}
        for rows, columns in pairwise(widths)
    ]


def array(draw: np.random.Generator, *shape: int) -> jax.Array:
    return jnp.asarray(draw.normal(size=shape), jnp.result_type(float))


def batch(examples: int, inputs: int, outputs: int, seed: int = 1):
    draw = np.random.default_rng(seed)
    return array(draw, examples, inputs), array(draw, examples, outputs)


def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """Half the squared error of a tanh network, the mean over the examples."""
    return 0.5 * jnp.sum((network(params, x) - y) ** 2) / len(x)


def network(params: Any, x: jax.Array) -> jax.Array:
    for each in params[:-1]:
        x = jnp.tanh(x @ each["w"] + each["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def backward(params: Any, copies: Any, x: Any, y: Any) -> tuple[Any, list[Any]]:
    """Return the gradients of `loss_fn` and the teaching signals of its nodes.

    `copies` has, for each layer, the weights that the teaching signal goes through.
    """
    params, x, y = jax.tree.map(np.asarray, (params, x, y))
    values, copies = [x], [np.asarray(copy) for copy in copies]
    for each in params[:-1]:
        values.append(np.tanh(values[-1] @ each["w"] + each["b"]))
    delta = (values[-1] @ params[-1]["w"] + params[-1]["b"] - y) / len(x)
    grads, signals = [], []
    for value, copy in zip(reversed(values), reversed(copies), strict=True):
        grads.insert(0, {"w": value.T @ delta, "b": delta.sum(axis=0)})
        signals.insert(0, delta @ copy.T)
        delta = signals[0] * (1 - value**2)
    return grads, signals[1:]


def weights(params: Any) -> list[Any]:
    return [each["w"] for each in params]


def assert_close(actual: Any, expected: Any, rtol: float = 1e-4, atol: float = 1e-6):
    """Two trees have the same structure and the same numbers."""
    compare = jax.tree_util.Partial(
        np.testing.assert_allclose, rtol=rtol, atol=atol, strict=False
    )
    jax.tree.map(lambda a, e: compare(np.asarray(a), np.asarray(e)), actual, expected)


def assert_same(actual: Any, expected: Any):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def distance(actual: Any, expected: Any) -> float:
    """Return `|actual - expected| / |expected|`, each tree as one vector."""
    pairs = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    flat = [(np.ravel(a), np.ravel(e)) for a, e in pairs]
    actual, expected = (np.concatenate(part) for part in zip(*flat, strict=True))
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def cosine(actual: Any, expected: Any) -> float:
    a, e = (
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)])
        for t in (actual, expected)
    )
    return float(a @ e / np.linalg.norm(a) / np.linalg.norm(e))
