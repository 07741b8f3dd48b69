"""A generator under a discriminator, and a genome that grows a network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from support.examples import example

import apical
from apical.rules import FeedbackAlignment, KolenPollack

gan, hyper = example("gan"), example("hypernetwork")

# ---- Generative adversarial network


def test_the_frechet_distance_is_that_of_two_gaussians():
    x = np.random.default_rng(0).normal(size=(500, 4)) @ np.diag([1, 2, 3, 0.5])
    y = x @ np.random.default_rng(1).normal(size=(4, 4)) + 1
    one, other = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(one @ other).real
    by_hand = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(one + other - 2 * root)
    np.testing.assert_allclose(gan.frechet_distance(x, y), by_hand, rtol=1e-6)
    np.testing.assert_allclose(gan.frechet_distance(x, x + 3), 36, rtol=1e-6)
    # Scaled by 2: Σ (2 σ - σ)².
    centred = x - x.mean(0)
    found = gan.frechet_distance(2 * centred, centred)
    np.testing.assert_allclose(found, np.trace(one), rtol=1e-6)


def test_the_generator_ascends_what_the_discriminator_descends(key, monkeypatch):
    params, keys = gan.networks(key), jax.random.split(key)
    args = jax.random.uniform(keys[0], (5, 64)), jax.random.normal(keys[1], (5, 16))
    found = jax.grad(gan.loss_fn)(params, *args)
    monkeypatch.setattr(gan, "reverse", lambda x: x)
    plain = jax.grad(gan.loss_fn)(params, *args)
    signs = {"generator": -1, "discriminator": 1}
    for name, sign in signs.items():
        for one, other in zip(
            *map(jax.tree.leaves, (found[name], plain[name])), strict=False
        ):
            np.testing.assert_allclose(one, sign * other, atol=1e-7)
            assert jnp.abs(other).max() > 1e-5


# ---- Genome


@pytest.fixture(scope="module")
def data():
    keys = jax.random.split(jax.random.key(5))
    x = jax.random.uniform(keys[0], (4, 7, 64))
    return x, jax.random.randint(keys[1], (4, 7), 0, 10)


def test_a_weight_is_what_the_small_network_makes_of_two_genes(key):
    params = hyper.genome(key)
    weights, g = hyper.grow(params), params["g"]
    for i, j in ((0, 0), (3, 7), (31, 9)):
        pair = jnp.concatenate([params["genes"][1][i], params["genes"][2][j]])
        h = jnp.tanh(pair @ g[0]["w"] + g[0]["b"])
        by_hand = (h @ g[1]["w"] + g[1]["b"])[0] / 32**0.5
        np.testing.assert_allclose(weights[1][i, j], by_hand, rtol=1e-4, atol=1e-6)


def test_feedback_is_grown_from_a_second_genome(data):
    params, other = (hyper.genome(jax.random.key(i)) for i in (0, 1))
    x, labels = data[0][0], data[1][0]
    learner = apical.value_and_grad(hyper.loss_fn, FeedbackAlignment())
    state = learner.init(jax.random.key(2), params, x, labels)
    state = state._replace(feedback=other)
    found = jax.jit(learner)(params, state, x, labels).grads

    def by_hand(backwards):
        (first, second), pull = jax.vjp(hyper.grow, params)
        h = jnp.tanh(x @ first)
        error = (jax.nn.softmax(h @ second) - jax.nn.one_hot(labels, 10)) / len(x)
        below = (error @ backwards.T) * (1 - h**2)
        return pull([x.T @ below, h.T @ error])[0]

    exact, plain = by_hand(hyper.grow(other)[1]), by_hand(hyper.grow(params)[1])
    for one, two in zip(*map(jax.tree.leaves, (found, exact)), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    assert jnp.abs(plain["g"][0]["w"] - exact["g"][0]["w"]).max() > 1e-3  # the control


@pytest.mark.parametrize("rule", [FeedbackAlignment(), KolenPollack()])
def test_the_gradient_through_a_lifetime_is_that_of_finite_differences(rule, data, key):
    params = hyper.genome(key)
    step = hyper.lifetime_step(rule)
    state = step.init(key, hyper.grow(params), data[0][0], data[1][0])
    loss = jax.jit(hyper.lifetime_loss(rule, state))
    slope = jax.grad(loss)(params, *data)
    way = jax.tree.map(lambda g: g / 3, slope)
    along = sum(
        jnp.vdot(a, b)
        for a, b in zip(*map(jax.tree.leaves, (slope, way)), strict=False)
    )
    step = 1e-2

    def moved(length):
        return jax.tree.map(lambda p, w: p + length * w, params, way)

    ahead, behind = loss(moved(step), *data), loss(moved(-step), *data)
    np.testing.assert_allclose((ahead - behind) / 2 / step, along, rtol=0.02)
