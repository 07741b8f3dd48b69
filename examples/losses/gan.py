"""A generative adversarial network: `python gan.py --rule NAME`.

    loss = cross-entropy of the discriminator on real images and on generated ones

The discriminator descends this loss and the generator ascends it, at the same time:
`reverse` is an identity that turns the sign of what comes back (Ganin & Lempitsky
2015). So both are one ordinary loss, and a rule for one serves both. The generator
learns only from what reaches it through the first layer of the discriminator.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.linalg
from common import affine, dense, digits, fit, rows_of, run

import apical

CAUSES = 16


def networks(key, hidden=128):
    """Initial parameters of both networks."""
    keys = jax.random.split(key, 4)
    return {
        "generator": [dense(keys[0], CAUSES, hidden), dense(keys[1], hidden, 64)],
        "discriminator": [dense(keys[2], 64, hidden), dense(keys[3], hidden, 1)],
    }


def generate(generator, causes):
    """Images, pixels in (0, 1), from random causes."""
    h = jnp.tanh(affine(generator[0], causes))
    return jax.nn.sigmoid(affine(generator[1], h))


def discriminate(discriminator, images):
    """The log-odds of being real, for each image."""
    h = jax.nn.leaky_relu(affine(discriminator[0], images), 0.2)
    return affine(discriminator[1], h)[:, 0]


def reverse(x):
    """The argument itself, with a derivative of -1."""
    return 2 * jax.lax.stop_gradient(x) - x


def loss_fn(params, real, causes):
    """How badly real images (labelled 0.9) and generated ones (0) are told apart."""
    fake = reverse(generate(params["generator"], causes))
    missed_real = optax.sigmoid_binary_cross_entropy(
        discriminate(params["discriminator"], real), 0.9
    )
    missed_fake = optax.sigmoid_binary_cross_entropy(
        discriminate(params["discriminator"], fake), 0.0
    )
    return jnp.mean(missed_real + missed_fake)


def frechet_distance(x, y):
    """|m_x - m_y|^2 + trace(C_x + C_y - 2 (C_x C_y)^(1/2)), of fitted Gaussians."""
    x, y = np.float64(x), np.float64(y)
    one, other = np.cov(x.T), np.cov(y.T)
    # The eigenvalues of C_x C_y are real and not negative.
    roots = np.sqrt(np.maximum(scipy.linalg.eigvals(one @ other).real, 0))
    apart = np.sum((x.mean(0) - y.mean(0)) ** 2)
    return float(apart + np.trace(one) + np.trace(other) - 2 * roots.sum())


def main(rule, updates=6000, batch=64):
    """Train by a rule; print Fréchet distances to the digits."""
    real, _, test, _ = digits()

    def draw(key):
        rows, noise = jax.random.split(key)
        causes = jax.random.normal(noise, (batch, CAUSES))
        return rows_of(real, rows, batch), causes

    before = networks(jax.random.key(0))
    step = apical.train_step(loss_fn, rule, optax.adam(1e-3, b1=0.5))
    after, values = fit(step, jax.random.key(1), before, draw, updates)

    causes = jax.random.normal(jax.random.key(2), (len(real), CAUSES))
    first, last = (generate(p["generator"], causes) for p in (before, after))
    normal = np.random.default_rng(0).normal(real.mean(0), real.std(0), real.shape)
    found = {
        "untrained generator": frechet_distance(first, real),
        "trained generator": frechet_distance(last, real),
        "independent pixels": frechet_distance(normal, real),
        "test images": frechet_distance(test, real),
    }
    for name, distance in found.items():
        print(f"{name:20} Fréchet distance to the training images {distance:6.3f}")
    print(f"loss of the discriminator {float(values[-100:].mean()):.3f}")
    return found


if __name__ == "__main__":
    run(main)
