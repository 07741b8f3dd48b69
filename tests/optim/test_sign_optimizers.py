"""PowerSign, AddSign, their decays and the projection, against numpy."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, assert_same

import apical
from apical.lab.training._optimizers import find_optimizer
from apical.optim import (
    add_sign,
    cosine_decay,
    linear_decay,
    power_sign,
    restart_decay,
    sign_concordance_projection,
)

DRAW = np.random.default_rng(0)
PARAMS = {"w": DRAW.normal(size=(3, 2)), "b": DRAW.normal(size=2)}
GRADS = [{"w": DRAW.normal(size=(3, 2)), "b": DRAW.normal(size=2)} for _ in range(7)]
GRADS[2]["b"][0] = 0.0  # the sign of zero is zero
T = 5  # shorter than the run: what a decay does after its end is seen too


def by_hand(kind, number, beta, decay, rate=0.1):
    """The optimisers of Bello et al., entry by entry."""
    w = {name: leaf.copy() for name, leaf in PARAMS.items()}
    m = {name: np.zeros_like(leaf) for name, leaf in w.items()}
    for t, grads in enumerate(GRADS):
        for name, g in grads.items():
            m[name] = beta * m[name] + (1 - beta) * g
            agree = decay(t) * np.sign(g) * np.sign(m[name])
            size = number**agree if kind == "power" else number + agree
            w[name] = w[name] - rate * size * g
    return w


def by_optax(optimizer, params=PARAMS, grads=GRADS):
    def step(carry, grads):
        w, state = carry
        updates, state = optimizer.update(grads, state, w)
        return (optax.apply_updates(w, updates), state), None

    start = jax.tree.map(jnp.float32, params)
    grads = jax.tree.map(lambda *leaves: jnp.float32(np.stack(leaves)), *grads)
    run = jax.jit(lambda w, grads: jax.lax.scan(step, (w, optimizer.init(w)), grads)[0])
    return run(start, grads)[0]


DECAYS = {
    "none": (None, lambda t: 1.0),
    "linear": (linear_decay(T), lambda t: max(0.0, 1 - t / T)),
    "cosine": (
        cosine_decay(T),
        lambda t: 0.5 * (1 + math.cos(math.pi * min(t, T) / T)),
    ),
    "cosine, 2 periods": (
        cosine_decay(T, 2),
        lambda t: 0.5 * (1 + math.cos(4 * math.pi * min(t, T) / T)),
    ),
    "restart": (
        restart_decay(T),
        lambda t: 0.5 * (1 + math.cos(math.pi * (min(t, T) % T) / T)),
    ),
    "restart, 2 periods": (
        restart_decay(T, 2),
        lambda t: 0.5 * (1 + math.cos(math.pi * ((2 * min(t, T)) % T) / T)),
    ),
}


@pytest.mark.parametrize(("decay", "f"), DECAYS.values(), ids=DECAYS)
def test_both_equal_a_loop_by_hand_with_every_decay(decay, f):
    found = by_optax(power_sign(0.1, decay=decay))
    assert_close(found, by_hand("power", math.e, 0.9, f), rtol=1e-5)
    found = by_optax(add_sign(0.1, decay=decay))
    assert_close(found, by_hand("add", 1.0, 0.9, f), rtol=1e-5)


def test_base_alpha_and_momentum_are_those_of_the_loop():
    f = DECAYS["none"][1]
    found = by_optax(power_sign(0.05, 3.0, 0.5))
    assert_close(found, by_hand("power", 3.0, 0.5, f, 0.05), rtol=1e-5)
    found = by_optax(add_sign(0.05, 2.0, 0.5))
    assert_close(found, by_hand("add", 2.0, 0.5, f, 0.05), rtol=1e-5)


def test_no_two_of_them_are_the_same():
    ends = [
        by_hand(kind, number, beta, f)["w"]
        for kind, number in (("power", math.e), ("add", 1.0), ("add", 2.0))
        for beta in (0.9, 0.5)
        for _, f in DECAYS.values()
    ]
    for one, other in itertools.combinations(ends, 2):
        assert np.max(np.abs(one - other)) > 1e-3


def test_a_base_of_one_is_gradient_descent():
    assert_close(by_optax(power_sign(0.1, 1.0)), by_optax(optax.sgd(0.1)), rtol=1e-6)


def test_any_schedule_of_optax_is_a_decay_and_a_rate():
    optax_decay = optax.linear_schedule(1.0, 0.0, T)
    found = by_optax(add_sign(optax.constant_schedule(0.1), decay=optax_decay))
    assert_close(found, by_optax(add_sign(0.1, decay=linear_decay(T))), rtol=1e-6)


# ---------------------------------------------------------------------- the projection


def projected_by_hand(rate):
    """Gradient descent that stops at zero, entry by entry."""
    w = {name: leaf.copy() for name, leaf in PARAMS.items()}
    for grads in GRADS:
        for name, g in grads.items():
            for i in np.ndindex(g.shape):
                moved = w[name][i] - rate * g[i]
                crossed = moved * PARAMS[name][i] < 0
                w[name][i] = 0.0 if crossed else moved
    return w


def test_the_projection_equals_a_loop_by_hand_and_changes_no_sign():
    free = by_optax(optax.sgd(0.5))
    kept = by_optax(optax.chain(optax.sgd(0.5), sign_concordance_projection()))
    assert_close(kept, projected_by_hand(0.5), rtol=1e-5)
    products = [np.asarray(kept[n]) * PARAMS[n] for n in PARAMS]
    assert all(np.all(p >= 0) for p in products)
    assert any(np.any(np.asarray(free[n]) * PARAMS[n] < 0) for n in PARAMS)
    assert any(np.any(p > 0) for p in products)


def test_a_weight_that_has_stopped_at_zero_comes_back_on_its_own_side_only():
    optimizer = optax.chain(optax.sgd(1.0), sign_concordance_projection())
    w = jnp.array([1.0, -1.0])
    state, path = optimizer.init(w), []
    for g in ([3.0, -3.0], [1.0, -1.0], [-0.5, 0.5]):
        updates, state = optimizer.update(jnp.array(g), state, w)
        w = optax.apply_updates(w, updates)
        path.append(w.tolist())
    assert path == [[0.0, 0.0], [0.0, 0.0], [0.5, -0.5]]


def test_a_weight_that_starts_at_zero_is_left_alone():
    optimizer = optax.chain(optax.sgd(1.0), sign_concordance_projection())
    w = {"w": jnp.zeros(2), "hole": None}
    updates, _ = optimizer.update({"w": jnp.array([1.0, -1.0]), "hole": None},
                                  optimizer.init(w), w)  # fmt: skip
    assert_same(updates["w"], jnp.array([-1.0, 1.0]))


def test_with_it_feedback_of_the_first_signs_agrees_for_ever():
    """Its purpose: feedback signs that are copied once stay right."""

    def loss_fn(w, x, y):
        return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"] - y) ** 2)

    w = {"a": jnp.asarray(PARAMS["w"], jnp.float32), "b": jnp.ones((2, 1))}
    x, y = jnp.asarray(DRAW.normal(size=(8, 3)), jnp.float32), -jnp.ones((8, 1))
    first = jax.tree.map(jnp.sign, w)

    def agrees(optimizer):
        step = apical.train_step(loss_fn, apical.rules.SignConcordance(), optimizer)
        now, state = w, step.init(jax.random.key(0), w, x, y)
        for _ in range(20):
            now, state, _ = jax.jit(step)(now, state, x, y)
        signs = jax.tree.map(lambda v, s: bool(jnp.all(v * s >= 0)), now, first)
        return all(signs.values())

    projection = sign_concordance_projection()
    assert agrees(optax.chain(optax.sgd(0.3), projection))
    assert not agrees(optax.sgd(0.3))


# -------------------------------------------------------------------------- what is not


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: power_sign(-1.0), "`learning_rate` must be a finite number"),
        (lambda: power_sign(0.1, base=-1.0), "`base` must be a finite number"),
        (lambda: power_sign(0.1, base=0.0), "`base` must be above 0"),
        (lambda: add_sign(0.1, alpha="x"), "`alpha` must be a finite number"),
        (lambda: add_sign(0.1, momentum=1.0), "`momentum` must be .* below 1"),
        (lambda: add_sign(0.1, decay=0.5), "`decay` must be a function of the step"),
        (lambda: linear_decay(0), "`steps` must be a finite number of at least 1"),
        (lambda: restart_decay(5, -1), "`periods` must be a finite number"),
    ],
)
def test_what_is_out_of_range_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_the_projection_without_the_parameters_is_refused():
    optimizer = sign_concordance_projection()
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


@pytest.mark.parametrize("name", ["power_sign(base=2.0)", "add_sign(momentum=0.5)"])
def test_the_bench_knows_them_by_name(name):
    assert find_optimizer(name, rate=0.1).rate == 0.1
