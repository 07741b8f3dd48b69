"""A restricted Boltzmann machine on images of bars, and its exact likelihood.

    loss = F(data) - F(dream),      F(v) = -v b - sum_j softplus(v w_j + c_j)

A dream is drawn by Gibbs sampling from the data (contrastive divergence, Hinton 2002).
"""

from __future__ import annotations

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from apical.claims.unsupervised._helmholtz_machine import HIDDEN, PIXELS

Params = dict[str, jax.Array]
_EVERY = np.array(list(product((0.0, 1.0), repeat=PIXELS)), np.float32)


def machine(key: jax.Array) -> Params:
    """Initial parameters: small weights, and the biases of both layers."""
    w = 0.1 * jax.random.normal(key, (PIXELS, HIDDEN))
    return {"w": w, "visible": jnp.zeros(PIXELS), "hidden": jnp.zeros(HIDDEN)}


def free_energy(params: Params, v: jax.Array) -> jax.Array:
    """F(v) of each row, the hidden units summed over."""
    drive = v @ params["w"] + params["hidden"]
    return -v @ params["visible"] - jnp.sum(jax.nn.softplus(drive), axis=-1)


def positive_loss(params: Params, data: jax.Array, uniform: jax.Array) -> jax.Array:
    """Lower the free energy of the data, and raise none: the control."""
    del uniform
    return jnp.mean(free_energy(params, data))


def contrastive_loss(params: Params, data: jax.Array, uniform: jax.Array) -> jax.Array:
    """Lower the free energy of the data, and raise that of what is dreamt from it.

    Args:
        params: made by `machine`.
        data: images, `(n, 9)`.
        uniform: numbers in [0, 1), `(n, sweeps, 17)`, one for each unit and sweep.
    """
    dream = data
    for sweep in range(uniform.shape[1]):
        chance = jax.nn.sigmoid(dream @ params["w"] + params["hidden"])
        h = (uniform[:, sweep, :HIDDEN] < chance).astype(jnp.float32)
        chance = jax.nn.sigmoid(h @ params["w"].T + params["visible"])
        dream = (uniform[:, sweep, HIDDEN:] < chance).astype(jnp.float32)
    dream = jax.lax.stop_gradient(dream)
    return positive_loss(params, data, uniform) - jnp.mean(free_energy(params, dream))


def divergence(params: Params, x: jax.Array, probability: jax.Array) -> jax.Array:
    """KL(data || machine), in nats: a sum over all 512 images."""
    log_z = jax.nn.logsumexp(-free_energy(params, jnp.asarray(_EVERY)))
    log_p = -free_energy(params, x) - log_z
    return jnp.sum(probability * (jnp.log(probability) - log_p))


def drawn(key: jax.Array, data: Any, batch: int, sweeps: int) -> tuple[Any, Any]:
    """A batch of images, and the numbers of its dreams."""
    for_rows, for_states = jax.random.split(key)
    x, probability = data
    rows = jax.random.choice(for_rows, len(x), (batch,), p=probability)
    shape = (batch, sweeps, HIDDEN + PIXELS)
    return x[rows], jax.random.uniform(for_states, shape)
