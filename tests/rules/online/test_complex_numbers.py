"""Rules that need no structure, on complex states and complex parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import distance

import apical
from apical.rules import RTRL, UORO

KEYS = jax.random.split(jax.random.key(0), 8)
X = jax.random.normal(KEYS[0], (6, 1, 2))


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


def weights(real):
    """A linear recurrent unit, its complex numbers as such or as pairs."""

    def pair(key, *shape):
        pair = jax.random.normal(key, (2, *shape), float)
        return pair if real else pair[0] + 1j * pair[1]

    decay = -1.5 + 0.3 * jax.random.normal(KEYS[1], (3,), float)
    angle = jax.random.normal(KEYS[2], (3,), float)
    lam = jnp.exp(-jnp.exp(decay) + 1j * angle)
    return {
        "lam": jnp.stack([lam.real, lam.imag]) if real else lam,
        "in": pair(KEYS[3], 2, 3),
        "out": pair(KEYS[4], 3, 2),
        "start": pair(KEYS[5], 3),
    }


def whole(x):
    return x if jnp.iscomplexobj(x) else x[0] + 1j * x[1]


def run(p, h, x):
    p = jax.tree.map(whole, p)

    def step(h, x):
        h = p["lam"] * h + x @ p["in"]
        return h, (h @ p["out"]).real

    h, y = jax.lax.scan(step, h, x)
    return jnp.mean(y**2), {"carry": h}


def loss_fn(p, x):
    return run(p, whole(p["start"])[None], x)[0]


@pytest.mark.parametrize("real", [True, False], ids=["pairs", "complex"])
def test_real_time_recurrent_learning_is_backpropagation(real):
    p = weights(real)
    learner = apical.value_and_grad(loss_fn, RTRL(), batch_axes=1)
    found = learner(p, learner.init(KEYS[6], p, X), X).grads
    assert distance(found, jax.grad(loss_fn)(p, X)) < 1e-13


@pytest.mark.parametrize("real", [True, False], ids=["pairs", "complex"])
def test_influence_on_a_complex_carry_continues(real):
    p = weights(real)
    del p["start"]
    start, total = jnp.zeros((1, 3), complex), None
    learner = apical.value_and_grad(
        run, RTRL(), batch_axes=(0, 1), has_aux=True, carry=(0, "carry")
    )
    state, h = learner.init(KEYS[6], p, start, X[:3]), start
    for x in (X[:3], X[3:]):
        credit = learner(p, state, h, x)
        state, h = credit.state, credit.aux["carry"]
        half = jax.tree.map(lambda g: g / 2, credit.grads)
        total = half if total is None else jax.tree.map(jnp.add, total, half)
    assert distance(total, jax.grad(run, has_aux=True)(p, start, X)[0]) < 1e-13


@pytest.mark.parametrize("real", [True, False], ids=["pairs", "complex"])
def test_the_mean_of_uoro_is_the_gradient(real):
    p = weights(real)
    learner = apical.value_and_grad(loss_fn, UORO(), batch_axes=1)

    @jax.jit
    @jax.vmap
    def draw(key):
        return learner(p, learner.init(key, p, X), X).grads

    count = 20000
    draws, exact = draw(jax.random.split(KEYS[7], count)), jax.grad(loss_fn)(p, X)
    for name in p:
        found, true = (np.asarray(g[name]) for g in (draws, exact))
        off = found.mean(0) - true
        parts = [(off.real, found.real)]
        if not real:
            parts += [(off.imag, found.imag)]
        for part, sample in parts:
            error = np.maximum(sample.std(0) / count**0.5, 1e-12)
            assert np.max(np.abs(part / error)) < 5
        # The test can fail: the error of the mean is below the gradient.
        spread = np.linalg.norm(found.std(0)) / count**0.5
        assert spread < np.linalg.norm(true) / 10
