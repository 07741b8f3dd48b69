"""A sum-product network: `python sum_product_network.py --rule NAME`.

    leaf     log p(x_i) of one binary pixel, or 0 where it is not seen
    product  of parts without a common pixel:  log S = log S_left + log S_right
    sum      a mixture of the same pixels:     log S = log Σ_k w_k S_k,   Σ_k w_k = 1

(Poon & Domingos 2011.) The loss is -log S(x) at the root. One forward pass gives the
exact likelihood of what is seen, and one backward pass every exact marginal:

    d log S / d log p(x_i = 1) = P(x_i = 1 | what is seen)
"""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import digits, fit, rows_of, run

import apical

PARTS = 5  # mixtures of each region


def network(key, pixels, repeats):
    """Initial parameters: logits of leaves, of mixtures by level, and of the root.

    Args:
      key: a random key.
      pixels: how many; a power of 2, at least 4.
      repeats: how many random orders of the pixels are cut into halves.
    """
    levels = pixels.bit_length() - 2  # a region of the lowest level has two pixels
    keys = jax.random.split(key, levels + 2)
    shapes = [(repeats, 2**level, PARTS**2, PARTS) for level in reversed(range(levels))]
    shapes[-1] = (*shapes[-1][:3], 1)
    sums = [
        jax.random.normal(k, shape) / 2
        for k, shape in zip(keys[:levels], shapes, strict=True)
    ]
    leaves = jax.random.normal(keys[-2], (repeats, pixels, PARTS))
    return {"leaf": leaves, "sum": sums, "root": jnp.zeros(repeats)}


def orders(pixels, repeats):
    """The fixed random orders of the pixels, [repeats, pixels]."""
    draw = np.random.default_rng(0)
    return np.stack([draw.permutation(pixels) for _ in range(repeats)])


def mixture(logits, log_parts):
    """The logarithm of Σ_k w_k S_k, with the weights w = softmax(logits)."""
    top = jax.lax.stop_gradient(log_parts.max(-1, keepdims=True))
    weights = jax.nn.softmax(logits, axis=-2)
    mixed = jnp.einsum("brnk,rnko->brno", jnp.exp(log_parts - top), weights)
    return jnp.log(mixed) + top


def log_value(params, evidence):
    """The logarithm of S at the root, of each example.

    Args:
      params: made by `network`.
      evidence: log-indicators of the pixels being 0 and 1, [n, pixels, 2]: 0 for what
        is possible, -30 for what is not; both 0 for a pixel that is not seen.
    """
    repeats, pixels, _ = params["leaf"].shape
    seen = evidence[:, orders(pixels, repeats)][..., None, :]
    logits = params["leaf"]
    chance = jnp.stack([jax.nn.log_sigmoid(-logits), jax.nn.log_sigmoid(logits)], -1)
    leaves = jax.nn.logsumexp(chance + seen, -1)
    regions = leaves[:, :, 0::2] + leaves[:, :, 1::2]
    for weights in params["sum"]:
        pairs = regions[:, :, 0::2, :, None] + regions[:, :, 1::2, None, :]
        regions = mixture(weights, pairs.reshape(*pairs.shape[:3], -1))
    root = jax.nn.log_softmax(params["root"])
    return jax.nn.logsumexp(regions[:, :, 0, 0] + root, axis=-1)


def indicators(x, seen=None):
    """The evidence of binary pixels, [n, pixels, 2]; pixels not in `seen` are open."""
    evidence = jnp.where(jnp.stack([x == 0, x == 1], -1), 0.0, -30.0)
    return evidence if seen is None else jnp.where(seen[:, None], evidence, 0.0)


def loss_fn(params, evidence):
    """The negative log-likelihood, in nats per image."""
    return -jnp.mean(log_value(params, evidence))


def marginals(params, evidence):
    """P(x_i = 1 | what is seen) of every pixel at once, by one backward pass."""
    slopes = jax.grad(lambda e: log_value(params, e).sum())(evidence)
    return slopes[..., 1]


def enumerated_marginals(params, x, seen):
    """The same by a sum over all images that agree with what is seen."""
    pixels = len(seen)
    every = np.array(list(product((0, 1), repeat=pixels)))
    chance = np.exp(np.float64(jax.jit(log_value)(params, indicators(every))))
    agree = (every[None, :, seen] == np.asarray(x)[:, None, seen]).all(-1)
    return agree @ (chance[:, None] * every) / (agree @ chance)[:, None], chance.sum()


def main(rule, updates=1500, batch=64, repeats=8):
    """Check a small network against enumeration; train one on binary digits."""
    small = network(jax.random.key(0), 8, 3)
    x, seen = np.eye(8, dtype=int)[:3], np.arange(8) < 3
    exact, total = enumerated_marginals(small, x, seen)
    found = jax.jit(marginals)(small, indicators(x, seen))
    missed = np.abs(np.float64(found) - exact).max()
    print(f"8 pixels: all probabilities sum to {total:.6f}; marginals to {missed:.1e}")

    x, _, test, _ = (part > 0.4 for part in digits())
    before = network(jax.random.key(1), 64, repeats)
    step = apical.train_step(loss_fn, rule, optax.adam(3e-2))
    draw = lambda key: (indicators(rows_of(x, key, batch)),)  # noqa: E731
    after, _ = fit(step, jax.random.key(2), before, draw, updates)
    rate = (x.sum(0) + 1) / (len(x) + 2)
    apart = -np.mean(np.log(np.where(test, rate, 1 - rate)).sum(1))
    start, end = (float(jax.jit(loss_fn)(p, indicators(test))) for p in (before, after))
    print(f"digits, test images: {start:.2f} -> {end:.2f} nats")
    print(f"independent pixels: {apart:.2f} nats")
    return {"marginals": missed, "total": total, "test": end, "independent": apart}


if __name__ == "__main__":
    run(main)
