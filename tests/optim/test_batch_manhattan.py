"""Batch Manhattan, compared with a loop in numpy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, assert_same

import apical

SETTINGS = {0: (False, False), 1: (True, False), 2: (False, True), 3: (True, True)}
DRAW = np.random.default_rng(0)
PARAMS = {"w": DRAW.normal(size=(3, 2)), "b": DRAW.normal(size=2)}
GRADS = [{"w": DRAW.normal(size=(3, 2)), "b": DRAW.normal(size=2)} for _ in range(6)]
GRADS[2]["b"][0] = 0.0  # the sign of zero is zero


def by_hand(setting, rate, momentum, decay):
    sign_gradient, sign_velocity = SETTINGS[setting]
    w = dict(PARAMS)
    kappa = {name: np.zeros_like(leaf) for name, leaf in w.items()}
    for t, grads in enumerate(GRADS):
        for name, grad in grads.items():
            tau = np.sign(grad) if sign_gradient else grad
            kappa[name] = momentum * kappa[name] + tau + decay * w[name]
            step = np.sign(kappa[name]) if sign_velocity else kappa[name]
            w[name] = w[name] - (rate(t) if callable(rate) else rate) * step
    return w


def by_optax(setting, rate, momentum, decay):
    sign_gradient, sign_velocity = SETTINGS[setting]
    optimizer = apical.optim.batch_manhattan(
        rate, momentum, decay, sign_gradient=sign_gradient, sign_velocity=sign_velocity
    )

    def step(carry, grads):
        w, state = carry
        updates, state = optimizer.update(grads, state, w)
        return (optax.apply_updates(w, updates), state), None

    start = jax.tree.map(jnp.float32, PARAMS)
    grads = jax.tree.map(lambda *leaves: jnp.float32(np.stack(leaves)), *GRADS)
    run = jax.jit(lambda w, grads: jax.lax.scan(step, (w, optimizer.init(w)), grads)[0])
    return run(start, grads)[0]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.5, 0.1)])
def test_each_setting_of_the_paper_equals_a_loop_by_hand(setting, momentum, decay):
    expected = by_hand(setting, 0.1, momentum, decay)
    assert_close(by_optax(setting, 0.1, momentum, decay), expected, rtol=1e-5)


def test_the_rate_may_follow_a_schedule():
    schedule = optax.linear_schedule(0.2, 0.02, 4)
    found = by_optax(1, schedule, 0.5, 0.0)
    assert_close(found, by_hand(1, lambda t: float(schedule(t)), 0.5, 0.0), rtol=1e-5)


def test_no_two_settings_are_the_same():
    ends = [by_hand(setting, 0.1, 0.9, 0.1)["w"] for setting in SETTINGS]
    for first, second in itertools.combinations(ends, 2):
        assert np.max(np.abs(first - second)) > 0.05


def test_without_signs_it_is_gradient_descent_with_momentum():
    plain = optax.sgd(0.1, momentum=0.9)
    ours = apical.optim.batch_manhattan(0.1, 0.9, sign_gradient=False)
    w = jax.tree.map(jnp.float32, PARAMS)
    states = [each.init(w) for each in (plain, ours)]
    for grads in GRADS[:3]:
        grads = jax.tree.map(jnp.float32, grads)
        expected, states[0] = plain.update(grads, states[0], w)
        found, states[1] = ours.update(grads, states[1], w)
        assert_close(found, expected)


def test_one_step_moves_every_entry_by_the_rate_however_small_its_gradient():
    optimizer, w = apical.optim.batch_manhattan(0.1), jnp.zeros(3)
    grads = jnp.array([1e-20, -1e20, 0.0])
    updates, _ = optimizer.update(grads, optimizer.init(w))
    assert_same(updates, jnp.array([-0.1, 0.1, 0.0], jnp.float32))


def test_decay_without_the_parameters_is_refused():
    optimizer = apical.optim.batch_manhattan(0.1, weight_decay=0.1)
    with pytest.raises(ValueError, match="`weight_decay` needs the parameters"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


def test_leaves_that_are_not_learned_are_left_alone():
    """The gradients of a module hold None where a leaf is not learned."""
    optimizer = apical.optim.batch_manhattan(0.1, weight_decay=0.1)
    w = {"w": jnp.ones(2), "activation": None}
    updates, _ = optimizer.update(w, optimizer.init(w), w)
    assert updates["activation"] is None
    assert_close(updates["w"], np.full(2, -0.11))
