"""A variational autoencoder: `python variational_autoencoder.py --rule NAME`.

    loss = -ELBO = E_q [-log p(x | z)] + KL(q(z | x) || N(0, I))
    q(z | x) = N(mean, exp(log_var)), both made of x by the encoder

Written with the noise as an argument, z = mean + exp(log_var / 2) noise, it is an
ordinary loss of parameters and data. If encoder and decoder are linear, the optimum is
known: the likelihood of probabilistic PCA (Tipping & Bishop 1999; Lucas et al. 2019).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import affine, dense, digits, fit, rows_of, run

import apical

# For the rules that use them: the images are the target, and the input.
DESCRIPTION = {"target": lambda x, noise: x, "input_argnums": 0}


def divergence(mean, log_var):
    """KL(N(mean, exp(log_var)) || N(0, I)) of each example, in nats."""
    return jnp.sum(jnp.exp(log_var) + mean**2 - 1 - log_var, -1) / 2


# ---- Linear: Gaussian pixels of one learned variance


def linear_loss(params, x, noise):
    """The negative ELBO of a linear Gaussian model, in nats per image."""
    mean = affine(params["mean"], x)
    z = mean + jnp.exp(params["log_var"] / 2) * noise
    missed = x - affine(params["out"], z)
    log_variance = params["pixel_log_var"]
    each = missed**2 / jnp.exp(log_variance) + log_variance + jnp.log(2 * jnp.pi)
    return jnp.mean(jnp.sum(each, -1) / 2 + divergence(mean, params["log_var"]))


def linear(key, pixels, causes):
    """Initial parameters of the linear model."""
    up, down = jax.random.split(key)
    model = {"mean": dense(up, pixels, causes), "out": dense(down, causes, pixels)}
    return model | {"log_var": jnp.zeros(causes), "pixel_log_var": jnp.zeros(())}


def exact_linear_loss(params, x):
    """`linear_loss` averaged over the noise, which adds Σ_j s_j² |w_j|² / (2 σ²)."""
    scale = jnp.exp(params["log_var"] / 2)[:, None] * params["out"]["w"]
    spread = jnp.sum(scale**2) / jnp.exp(params["pixel_log_var"]) / 2
    return linear_loss(params, x, 0.0) + spread


def principal_components_loss(x, causes):
    """The least loss of any linear model: minus the likelihood of probabilistic PCA."""
    values = np.linalg.eigvalsh(np.cov(np.float64(x).T, bias=True))[::-1]
    rest = values[causes:].mean()
    log_det = np.log(values[:causes]).sum() + (len(values) - causes) * np.log(rest)
    return (len(values) * np.log(2 * np.pi) + log_det + len(values)) / 2


# ---- With hidden layers: pixels as probabilities


def deep_loss(params, x, noise):
    """The negative ELBO of a model with hidden layers, in nats per image."""
    h = jnp.tanh(affine(params["encode"], x))
    mean, log_var = affine(params["mean"], h), affine(params["log_var"], h)
    z = mean + jnp.exp(log_var / 2) * noise
    logits = affine(params["out"], jnp.tanh(affine(params["decode"], z)))
    missed = jnp.sum(optax.sigmoid_binary_cross_entropy(logits, x), -1)
    return jnp.mean(missed + divergence(mean, log_var))


def deep(key, pixels, causes, hidden=64):
    """Initial parameters of the model with hidden layers."""
    keys = jax.random.split(key, 5)
    return {
        "encode": dense(keys[0], pixels, hidden),
        "mean": dense(keys[1], hidden, causes),
        "log_var": dense(keys[2], hidden, causes, scale=0.1),
        "decode": dense(keys[3], causes, hidden),
        "out": dense(keys[4], hidden, pixels),
    }


def train(loss_fn, rule, params, x, causes, updates, batch=128):
    """Train by a rule; return the parameters after."""

    def draw(key):
        rows, noise = jax.random.split(key)
        return rows_of(x, rows, batch), jax.random.normal(noise, (batch, causes))

    rate = optax.cosine_decay_schedule(1e-2, updates)
    step = apical.train_step(loss_fn, rule, optax.adam(rate), **DESCRIPTION)
    return fit(step, jax.random.key(1), params, draw, updates)[0]


def main(rule, updates=4000):
    """Train both models by a rule; print the losses, and what they should be."""
    x, _, test, _ = digits()
    params = train(linear_loss, rule, linear(jax.random.key(0), 64, 6), x, 6, updates)
    found, least = exact_linear_loss(params, x), principal_components_loss(x, 6)
    print(f"linear, 6 causes: {found:.2f} nats; probabilistic PCA {least:.2f}")

    before = deep(jax.random.key(0), 64, 8)
    params = train(deep_loss, rule, before, x, 8, updates)
    noise = jax.random.normal(jax.random.key(2), (100, len(test), 8))
    average = jax.jit(lambda p: jax.vmap(lambda n: deep_loss(p, test, n))(noise).mean())
    start, end = average(before), average(params)
    print(f"deep, 8 causes, test images: {start:.2f} -> {end:.2f} nats")
    return float(found), float(least), float(end)


if __name__ == "__main__":
    run(main)
