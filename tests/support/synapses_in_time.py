"""Synapses in plain JAX, in a loop over time or not, and numbers to try them with."""

import jax
import jax.numpy as jnp
import numpy as np

import apical

T, B = 4, 3


def numbers(seed, *shape):
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(size=shape), float)


def scanned(drive, shape):
    """A loop whose unit is the hyperbolic tangent of what a synapse drives."""

    def loss_fn(w, x):
        def step(v, x):
            v = 0.5 * v + drive(w, x)
            return v, apical.node(jnp.tanh(v), "unit")

        return jnp.sum(jax.lax.scan(step, jnp.zeros(shape), x)[1] ** 2) / B

    return loss_fn


def heads(w, x):
    return jnp.einsum("bhi,hij->bhj", x, w)


def convolved(w, x):
    return jax.lax.conv_general_dilated(
        x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
