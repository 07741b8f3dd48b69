"""A Helmholtz machine on images of bars, small enough to sum over all its states.

    generator   t -> h -> x      p(x, h, t) = p(x | h) p(h | t) p(t)
    recogniser  x -> h -> t      q(h, t | x) = q(h | x) q(t | h)

All units are 0 or 1, with the logistic function of a sum as their probability.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import apical
from apical.claims.unsupervised._autoencoders import affine, layer

PIXELS, HIDDEN, TOP = 9, 8, 3
AWAKE, ASLEEP = HIDDEN + TOP, TOP + HIDDEN + PIXELS  # uniform numbers per image
Params = dict[str, Any]


def bars() -> tuple[np.ndarray, np.ndarray]:
    """The 14 images of rows or columns, `(14, 9)`, and the probability of each."""
    lines = np.array(list(product((0, 1), repeat=3)))
    rows = np.repeat(lines[:, :, None], 3, axis=2).reshape(-1, PIXELS)
    columns = np.repeat(lines[:, None, :], 3, axis=1).reshape(-1, PIXELS)
    found, counts = np.unique([*rows, *columns], axis=0, return_counts=True)
    probability = counts / counts.sum()
    return found.astype(np.float32), probability.astype(np.float32)


def machine(key: jax.Array) -> Params:
    """Parameters: `up` recognise, `down` generate, `top` has the logits of t."""
    keys = jax.random.split(key, 4)
    return {
        "up_h": layer(keys[0], PIXELS, HIDDEN),
        "up_t": layer(keys[1], HIDDEN, TOP),
        "down_x": layer(keys[2], HIDDEN, PIXELS),
        "down_h": layer(keys[3], TOP, HIDDEN),
        "top": jnp.zeros(TOP),
    }


def log_p(logits: Any, states: Any) -> jax.Array:
    """The log-probability of states of 0 and 1, summed over units."""
    return -jnp.sum(optax.sigmoid_binary_cross_entropy(logits, states), axis=-1)


# ---- What is descended


def _drawn(logits: jax.Array, uniform: jax.Array) -> jax.Array:
    states = uniform < jax.nn.sigmoid(logits)
    return jax.lax.stop_gradient(states.astype(jnp.float32))


def wake_loss(
    params: Params, x: jax.Array, awake: jax.Array, asleep: jax.Array
) -> jax.Array:
    """-log p(x, h, t) of images whose causes the recogniser draws; mean of images."""
    del asleep
    h = _drawn(affine(params["up_h"], x), awake[:, :HIDDEN])
    t = _drawn(affine(params["up_t"], h), awake[:, HIDDEN:])
    below = log_p(affine(params["down_x"], h), x)
    above = log_p(affine(params["down_h"], t), h) + log_p(params["top"], t)
    return -jnp.mean(below + above)


def wake_sleep_loss(
    params: Params, x: jax.Array, awake: jax.Array, asleep: jax.Array
) -> jax.Array:
    """`wake_loss`, and -log q(h, t | x) of dreams, which the generator draws.

    Args:
        params: made by `machine`.
        x: images, `(n, 9)`.
        awake: uniform numbers, `(n, AWAKE)`.
        asleep: uniform numbers, `(n, ASLEEP)`.
    """
    for_t, for_h, for_x = jnp.split(asleep, [TOP, TOP + HIDDEN], axis=1)
    t = _drawn(params["top"], for_t)
    h = _drawn(affine(params["down_h"], t), for_h)
    dream = _drawn(affine(params["down_x"], h), for_x)
    sleep = log_p(affine(params["up_h"], dream), h) + log_p(
        affine(params["up_t"], h), t
    )
    return wake_loss(params, x, awake, asleep) - jnp.mean(sleep)


def sampled_bound_loss(params: Params, x: jax.Array) -> jax.Array:
    """Minus the bound at states that are drawn, which are stochastic nodes."""
    for_h = affine(params["up_h"], x)
    h = apical.bernoulli(jax.nn.sigmoid(for_h), "h")
    for_t = affine(params["up_t"], h)
    t = apical.bernoulli(jax.nn.sigmoid(for_t), "t")
    generated = log_p(affine(params["down_x"], h), x) + log_p(params["top"], t)
    generated = generated + log_p(affine(params["down_h"], t), h)
    return -jnp.mean(generated - log_p(for_h, h) - log_p(for_t, t))


# ---- Sums over all states


_H = np.array(list(product((0.0, 1.0), repeat=HIDDEN)), np.float32)
_T = np.array(list(product((0.0, 1.0), repeat=TOP)), np.float32)


def exact_bound_loss(params: Params, x: jax.Array, probability: jax.Array) -> jax.Array:
    """Minus the bound, expected over images and over q: a sum over all 2^11 states."""
    log_q = log_p(affine(params["up_h"], x)[:, None], _H)
    gain = log_p(affine(params["down_x"], _H), x[:, None]) - log_q
    log_q_t = log_p(affine(params["up_t"], _H)[:, None], _T)
    above = log_p(affine(params["down_h"], _T), _H[:, None]) + log_p(params["top"], _T)
    gain_t = jnp.sum(jnp.exp(log_q_t) * (above - log_q_t), axis=1)
    each = jnp.sum(jnp.exp(log_q) * (gain + gain_t), axis=1)
    return -jnp.sum(probability * each)


def log_likelihood(params: Params, x: jax.Array) -> jax.Array:
    """Log p(x) of each image, summed over all 2^11 states."""
    of_h = log_p(affine(params["down_h"], _T), _H[:, None]) + log_p(params["top"], _T)
    of_x = log_p(affine(params["down_x"], _H), x[:, None])
    return jax.nn.logsumexp(of_x + jax.nn.logsumexp(of_h, axis=1), axis=1)


def divergence(params: Params, x: jax.Array, probability: jax.Array) -> jax.Array:
    """KL(data || generator), in nats."""
    apart = jnp.log(probability) - log_likelihood(params, x)
    return jnp.sum(probability * apart)
