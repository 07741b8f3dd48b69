"""Sum-product networks of binary pixels, with random orders of the pixels.

    leaf     log p(x_i) of one pixel; 0 where it is not seen
    product  of two parts without a common pixel:  log S = log S_left + log S_right
    sum      a mixture over the same pixels:       log S = log sum_k w_k S_k

(Poon & Domingos 2011.) One forward pass gives the exact likelihood of what is seen, and
one backward pass all exact marginals: with l the logarithm of the indicator of x_i = 1,
d log S / d l = P(x_i = 1 | what is seen).
"""

from __future__ import annotations

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PARTS = 5  # mixtures of each region
Params = dict[str, Any]
_IMPOSSIBLE = -30.0


def initial(key: jax.Array, pixels: int, repeats: int) -> Params:
    """Initial logits of leaves, of mixtures by level, and of the root.

    Args:
        key: a random key.
        pixels: their number, a power of 2 of at least 4.
        repeats: how many random orders of the pixels are halved again and again.
    """
    levels = pixels.bit_length() - 2  # a region of the lowest level has two pixels
    keys = jax.random.split(key, levels + 1)
    sums = []
    for place, level in enumerate(reversed(range(levels))):
        above = PARTS if level else 1
        shape = (repeats, 2**level, PARTS**2, above)
        sums.append(jax.random.normal(keys[place], shape) / 2)
    leaves = jax.random.normal(keys[-1], (repeats, pixels, PARTS))
    return {"leaf": leaves, "sum": sums, "root": jnp.zeros(repeats)}


def depth(params: Params) -> int:
    """The weighted layers on the way from a pixel to the root."""
    return 1 + len(params["sum"]) + 1


def _orders(pixels: int, repeats: int) -> np.ndarray:
    draw = np.random.default_rng(0)
    return np.stack([draw.permutation(pixels) for _ in range(repeats)])


def _mixture(logits: jax.Array, log_parts: jax.Array) -> jax.Array:
    top = jax.lax.stop_gradient(log_parts.max(axis=-1, keepdims=True))
    weights = jax.nn.softmax(logits, axis=-2)
    mixed = jnp.einsum("brnk,rnko->brno", jnp.exp(log_parts - top), weights)
    return jnp.log(mixed) + top


def log_value(params: Params, evidence: jax.Array) -> jax.Array:
    """Log S at the root, of each example.

    Args:
        params: made by `initial`.
        evidence: the logarithms of the indicators that a pixel is 0 and that it is 1,
            `(examples, pixels, 2)`; made by `indicators`.
    """
    repeats, pixels, _ = params["leaf"].shape
    seen = evidence[:, _orders(pixels, repeats)][..., None, :]
    logits = params["leaf"]
    chance = jnp.stack([jax.nn.log_sigmoid(-logits), jax.nn.log_sigmoid(logits)], -1)
    regions = jax.nn.logsumexp(chance + seen, axis=-1)
    regions = regions[:, :, 0::2] + regions[:, :, 1::2]
    for weights in params["sum"]:
        left, right = regions[:, :, 0::2, :, None], regions[:, :, 1::2, None, :]
        pairs = left + right
        regions = _mixture(weights, pairs.reshape(*pairs.shape[:3], -1))
    root = jax.nn.log_softmax(params["root"])
    return jax.nn.logsumexp(regions[:, :, 0, 0] + root, axis=-1)


def indicators(x: Any, seen: jax.Array | None = None) -> jax.Array:
    """The evidence of pixels of 0 and 1; those that are not `seen` are open."""
    evidence = jnp.where(jnp.stack([x == 0, x == 1], axis=-1), 0.0, _IMPOSSIBLE)
    return evidence if seen is None else jnp.where(seen[..., None], evidence, 0.0)


def loss_fn(params: Params, evidence: jax.Array) -> jax.Array:
    """The negative log-likelihood, mean of the images, in nats."""
    return -jnp.mean(log_value(params, evidence))


def marginals(params: Params, evidence: jax.Array) -> jax.Array:
    """P(x_i = 1 | what is seen) of every pixel, by one backward pass."""
    slopes = jax.grad(lambda e: log_value(params, e).sum())(evidence)
    return slopes[..., 1]


def enumerated(
    params: Params, x: np.ndarray, seen: np.ndarray
) -> tuple[np.ndarray, float]:
    """The marginals by a sum over all images, and the sum of all probabilities.

    Args:
        params: of a network of few pixels.
        x: images, `(examples, pixels)`.
        seen: which pixels are seen, `(pixels,)`.
    """
    every = np.array(list(product((0, 1), repeat=len(seen))))
    chance = np.exp(np.asarray(jax.jit(log_value)(params, indicators(every))))
    agree = (every[None, :, seen] == x[:, None, seen]).all(axis=-1)
    found = agree @ (chance[:, None] * every) / (agree @ chance)[:, None]
    return found, float(chance.sum())
