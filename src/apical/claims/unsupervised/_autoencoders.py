"""Variational autoencoders as ordinary losses, and the exact optimum of a linear one.

    loss = E_q[-log p(x | z)] + KL(q(z | x) || N(0, I)),    z = mean + deviation * noise

For a linear Gaussian model the least loss is minus the likelihood of probabilistic PCA
(Tipping & Bishop 1999), where the bound is tight (Lucas, Tucker, Grosse & Norouzi
2019).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

CAUSES = {"linear": 6, "deep": 8}
HIDDEN = 64
Params = dict[str, Any]
# The parameters of the encoder that the control leaves as they are.
ENCODER = {"linear": ("mean",), "deep": ("encode", "mean")}
# The images are the target and the input, for rules that use them.
DESCRIPTION: dict[str, Any] = {"target": lambda x, noise: x, "input_argnums": 0}


def layer(key: jax.Array, rows: int, columns: int, scale: float = 1.0) -> Params:
    """Weights of variance scale^2 / rows, and biases of 0."""
    weights = scale * jax.random.normal(key, (rows, columns)) / rows**0.5
    return {"w": weights, "b": jnp.zeros(columns)}


def affine(layer: Params, x: Any) -> jax.Array:
    """What a layer makes of x, without a nonlinearity."""
    return x @ layer["w"] + layer["b"]


def initial(model: str, key: jax.Array, pixels: int) -> Params:
    """Initial parameters of the model, `"linear"` or `"deep"`."""
    causes = CAUSES[model]
    keys = jax.random.split(key, 5)
    if model == "linear":
        return {
            "mean": layer(keys[0], pixels, causes),
            "log_var": jnp.zeros(causes),
            "out": layer(keys[1], causes, pixels),
            "pixel_log_var": jnp.zeros(()),
        }
    return {
        "encode": layer(keys[0], pixels, HIDDEN),
        "mean": layer(keys[1], HIDDEN, causes),
        "log_var": layer(keys[2], HIDDEN, causes, 0.1),
        "decode": layer(keys[3], causes, HIDDEN),
        "out": layer(keys[4], HIDDEN, pixels),
    }


def _divergence(mean: jax.Array, log_var: jax.Array) -> jax.Array:
    """KL(N(mean, exp(log_var)) || N(0, I)) of each example."""
    return jnp.sum(jnp.exp(log_var) + mean**2 - 1 - log_var, axis=-1) / 2


def linear_loss(params: Params, x: jax.Array, noise: jax.Array) -> jax.Array:
    """The loss of the linear model: Gaussian pixels of one learned variance."""
    mean = affine(params["mean"], x)
    z = mean + jnp.exp(params["log_var"] / 2) * noise
    missed = x - affine(params["out"], z)
    log_var = params["pixel_log_var"]
    each = missed**2 / jnp.exp(log_var) + log_var + jnp.log(2 * jnp.pi)
    apart = _divergence(mean, params["log_var"])
    return jnp.mean(jnp.sum(each, axis=-1) / 2 + apart)


def deep_loss(params: Params, x: jax.Array, noise: jax.Array) -> jax.Array:
    """The loss of the deep model: a tanh layer in each half, pixels in (0, 1)."""
    h = jnp.tanh(affine(params["encode"], x))
    mean, log_var = affine(params["mean"], h), affine(params["log_var"], h)
    z = mean + jnp.exp(log_var / 2) * noise
    logits = affine(params["out"], jnp.tanh(affine(params["decode"], z)))
    missed = jnp.sum(optax.sigmoid_binary_cross_entropy(logits, x), axis=-1)
    return jnp.mean(missed + _divergence(mean, log_var))


LOSSES = {"linear": linear_loss, "deep": deep_loss}


def expected_linear_loss(params: Params, x: jax.Array) -> jax.Array:
    """`linear_loss` averaged over the noise.

    The noise adds sum_j s_j^2 |w_j|^2 / (2 sigma^2) to the loss without it.
    """
    scale = jnp.exp(params["log_var"] / 2)[:, None] * params["out"]["w"]
    spread = jnp.sum(scale**2) / jnp.exp(params["pixel_log_var"]) / 2
    return linear_loss(params, x, jnp.zeros(())) + spread


def least_linear_loss(x: np.ndarray, causes: int) -> float:
    """Minus the likelihood of probabilistic PCA, mean of the images.

    (d log 2 pi + sum_{i <= k} log l_i + (d - k) log s^2 + d) / 2, with l the
    eigenvalues of the covariance of x from the largest, s^2 the mean of those after
    the k-th, and d the number of pixels.
    """
    values = np.linalg.eigvalsh(np.cov(np.float64(x).T, bias=True))[::-1]
    rest = values[causes:].mean()
    log_det = np.log(values[:causes]).sum() + (len(values) - causes) * np.log(rest)
    return float((len(values) * np.log(2 * np.pi) + log_det + len(values)) / 2)
