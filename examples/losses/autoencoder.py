"""An autoencoder: `python autoencoder.py --rule NAME`.

    loss = |x - decode(encode(x))|^2,     mean of the images

If both halves are linear, the least loss is known: the variance that the first
principal components leave (Baldi & Hornik 1989). With hidden layers it can be lower.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import affine, dense, digits, fit, rows_of, run

import apical

CODE = 6
# For the rules that use them: the images are the target, and the input.
DESCRIPTION = {"target": lambda x: x, "input_argnums": 0}


def layers(key, sizes):
    """Initial parameters of layers between these sizes."""
    keys = jax.random.split(key, len(sizes) - 1)
    return [dense(k, *pair) for k, pair in zip(keys, pairwise(sizes), strict=True)]


def linear_loss(params, x):
    """The squared error of a linear autoencoder."""
    encode, decode = params
    missed = x - affine(decode, affine(encode, x))
    return jnp.mean(jnp.sum(missed**2, -1))


def deep_loss(params, x):
    """The squared error of an autoencoder with a hidden layer in each half."""
    encode, to_code, decode, out = params
    code = affine(to_code, jnp.tanh(affine(encode, x)))
    missed = x - affine(out, jnp.tanh(affine(decode, code)))
    return jnp.mean(jnp.sum(missed**2, -1))


def principal_components(x, test, count):
    """The squared error of x, and of test images, by the first components of x."""
    mean = np.float64(x).mean(0)
    values, vectors = np.linalg.eigh(np.cov(np.float64(x).T, bias=True))
    rest = (test - mean) @ vectors[:, :-count]
    return values[:-count].sum(), np.mean(np.sum(rest**2, -1))


def main(rule, updates=4000, batch=128):
    """Train both autoencoders by a rule; print their errors on both sets of images."""
    x, _, test, _ = digits()
    found = {"principal components": principal_components(x, test, CODE)}
    models = {"linear": (linear_loss, (64, CODE, 64))}
    models["deep"] = deep_loss, (64, 64, CODE, 64, 64)
    for name, (loss_fn, sizes) in models.items():
        params = layers(jax.random.key(0), sizes)
        adam = optax.adam(optax.cosine_decay_schedule(1e-2, updates))
        step = apical.train_step(loss_fn, rule, adam, **DESCRIPTION)
        params, _ = fit(
            step, jax.random.key(1), params, lambda k: (rows_of(x, k, batch),), updates
        )
        found[name] = [float(loss_fn(params, images)) for images in (x, test)]
    for name, (of_x, of_test) in found.items():
        print(f"{name:20} squared error {of_x:.3f}, test images {of_test:.3f}")
    return found


if __name__ == "__main__":
    run(main)
