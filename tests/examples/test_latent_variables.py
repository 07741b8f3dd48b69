"""Autoencoder, variational autoencoder and wake-sleep against exact optima and sums."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.examples import example

auto, common = example("autoencoder"), example("common")
vae, ws = example("variational_autoencoder"), example("wake_sleep")


def components(x, count):
    """The mean, the eigenvalues from the largest, and the first eigenvectors."""
    values, vectors = np.linalg.eigh(np.cov(np.float64(x).T, bias=True))
    return np.float64(x).mean(0), values[::-1], vectors[:, ::-1][:, :count]


# ---- Autoencoder


def test_principal_components_reach_the_least_error_of_the_linear_autoencoder():
    x, _, test, _ = common.digits()
    mean, _, vectors = components(x, 6)
    params = [
        {"w": jnp.array(vectors), "b": jnp.array(-mean @ vectors)},
        {"w": jnp.array(vectors.T), "b": jnp.array(mean)},
    ]
    for images, least in zip(
        (x, test), auto.principal_components(x, test, 6), strict=False
    ):
        np.testing.assert_allclose(auto.linear_loss(params, images), least, rtol=1e-4)
    slope = jax.grad(auto.linear_loss)(params, x)
    assert all(jnp.abs(leaf).max() < 1e-5 for leaf in jax.tree.leaves(slope))
    turned = [{**params[0], "w": params[0]["w"] * 1.1}, params[1]]
    assert auto.linear_loss(turned, x) > auto.linear_loss(params, x) + 0.01


# ---- Variational autoencoder


def principal_components_model(x, causes):
    """The parameters of the linear model that are those of probabilistic PCA."""
    mean, values, vectors = components(x, causes)
    rest = values[causes:].mean()
    down = vectors * np.sqrt(values[:causes] - rest)
    up = down / values[:causes]  # the posterior mean, W M^-1 with M = diag(values)
    model = {
        "mean": {"w": up, "b": -mean @ up},
        "out": {"w": down.T, "b": mean},
        "log_var": np.log(rest / values[:causes]),
        "pixel_log_var": np.log(rest),
    }
    return jax.tree.map(jnp.float32, model)


def test_the_optimum_of_the_linear_model_is_probabilistic_pca():
    x = common.digits()[0]
    params, least = (
        principal_components_model(x, 6),
        vae.principal_components_loss(x, 6),
    )
    assert round(least, 2) == -11.03
    np.testing.assert_allclose(vae.exact_linear_loss(params, x), least, rtol=1e-4)
    slope = jax.grad(vae.exact_linear_loss)(params, x)
    assert all(jnp.abs(leaf).max() < 1e-2 for leaf in jax.tree.leaves(slope))
    wider = {**params, "log_var": params["log_var"] + 0.5}
    assert vae.exact_linear_loss(wider, x) > least + 0.1


def test_the_exact_loss_is_the_mean_over_the_noise(key):
    x = common.digits()[0][:20]
    params = vae.linear(key, 64, 6)
    noise = jax.random.normal(key, (4000, 20, 6))
    drawn = jax.jit(jax.vmap(lambda n: vae.linear_loss(params, x, n)))(noise)
    error = drawn.std() / len(drawn) ** 0.5
    assert abs(drawn.mean() - vae.exact_linear_loss(params, x)) < 4 * error
    assert abs(drawn.mean() - vae.linear_loss(params, x, 0.0)) > 40 * error


def test_the_divergence_is_that_of_two_normal_densities():
    mean, log_var = np.float32([0.7]), np.float32([-0.9])
    z = np.linspace(-12, 12, 20001)
    log_q = -((z - mean) ** 2) / np.exp(log_var) / 2 - log_var / 2
    q = np.exp(log_q) / np.sqrt(2 * np.pi)
    integral = np.sum(q * (log_q + z**2 / 2)) * (z[1] - z[0])
    np.testing.assert_allclose(vae.divergence(mean, log_var), integral, rtol=1e-5)


# ---- Wake-sleep


@pytest.fixture(scope="module")
def trained():
    """Parameters that are no longer symmetric."""
    leaves, tree = jax.tree.flatten(ws.machine(jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [
        a + 0.3 * jax.random.normal(k, a.shape)
        for a, k in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, noisy)


def test_the_likelihood_of_all_images_sums_to_one(trained):
    every = np.array(list(product((0.0, 1.0), repeat=ws.PIXELS)), np.float32)
    chance = jnp.exp(jax.jit(ws.log_likelihood)(trained, every))
    np.testing.assert_allclose(chance.sum(), 1, rtol=1e-5)
    x, probability = ws.bars()
    assert len(x) == 14 and probability.sum() == 1
    bound = ws.exact_bound(trained, x, probability)
    assert bound < probability @ ws.log_likelihood(trained, x)


def exact_sleep(params):
    """The expected loss of the recogniser on dreams, by sums over all states."""
    frozen = jax.lax.stop_gradient(params)
    x = np.array(list(product((0.0, 1.0), repeat=ws.PIXELS)), np.float32)
    h, t = ws.H[:, 0], ws.T
    of_t = jnp.exp(ws.log_p(frozen["top"], t))
    of_h = jnp.exp(ws.log_p(common.affine(frozen["down"][1], t), h[:, None])) * of_t
    below = common.affine(frozen["down"][0], h)[:, None]
    of_x = jnp.exp(ws.log_p(below, x)) * of_h.sum(1)[:, None]
    to_h = ws.log_p(common.affine(params["up"][0], x), h[:, None])
    to_t = ws.log_p(common.affine(params["up"][1], h)[:, None], t)
    return -jnp.sum(of_x * to_h) - jnp.sum(of_h * to_t)


def test_the_mean_update_is_the_exact_one_of_both_phases(trained, key):
    x, probability = ws.bars()
    count, keys = 40000, jax.random.split(key, 3)
    chosen = jax.random.choice(keys[0], len(x), (count,), p=probability)
    awake = jax.random.uniform(keys[1], (count, 11))
    asleep = jax.random.uniform(keys[2], (count, 20))
    args = jnp.asarray(x)[chosen], awake, asleep
    found = jax.jit(jax.grad(ws.wake_sleep_loss))(trained, *args)
    wake = jax.jit(jax.grad(lambda p: -ws.exact_bound(p, x, probability)))(trained)
    sleep = jax.jit(jax.grad(exact_sleep))(trained)
    for name, exact in (("down", wake), ("top", wake), ("up", sleep)):
        for one, other in zip(
            *map(jax.tree.leaves, (found[name], exact[name])), strict=False
        ):
            np.testing.assert_allclose(one, other, atol=0.012)
    # The control: the recogniser does not ascend the bound.
    apart = found["up"][0]["w"] - wake["up"][0]["w"]
    assert jnp.abs(apart).max() > 0.05
