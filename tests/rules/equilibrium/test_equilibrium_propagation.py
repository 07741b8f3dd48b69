"""Equilibrium propagation: hand-written networks, and the gradient at equilibrium."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, distance, loss_fn
from support.settled_by_hand import Network, combined, credit_of, weights

import apical
from apical.rules import EquilibriumPropagation, Holomorphic

KEY = jax.random.key(0)
EP = EquilibriumPropagation


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


# ------------------------------------------------------------------ written by hand


def by_hand(nudge, points, free_steps=6, nudged_steps=4, gain=0.6, rate=0.8):
    """The gradients, from the weights of the products at each nudge."""
    net = Network(gain, rate)
    free = net.settle(net.zeros(), free_steps, net.nudged(0.0))
    parts = []
    for b in points:
        start = (free.one, free.two)
        end = net.settle(start, nudged_steps, net.nudged(b)) if b else free
        error = end.out - net.y
        # A unit counts 1/gain as much as the one that it drives.
        signals = [end.one / gain, end.two, -b * error]
        parts.append(net.products(signals, [net.x, end.one, end.two]))
    return free, combined(parts, [-w for w in points.values()])


ESTIMATES = {
    "one-sided": lambda b: {b: 1 / b, 0.0: -1 / b},
    "centred": lambda b: {b: 1 / (2 * b), -b: -1 / (2 * b)},
}


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_two_layers_by_hand(estimate):
    params, data = weights()
    free, expected = by_hand(0.2, ESTIMATES[estimate](0.2))
    rule = EP(0.2, 6, 4, rate=0.8, gain=0.6, estimate=estimate)
    credit = credit_of(rule, loss_fn, params, data)
    assert_close(credit.grads, expected, 1e-8)
    error = free.out - np.asarray(data[1])
    np.testing.assert_allclose(credit.value, np.sum(error**2) / 8)
    # Each of the numbers matters.
    for other in (
        by_hand(0.4, ESTIMATES[estimate](0.4)),
        by_hand(0.2, ESTIMATES[estimate](0.2), gain=0.5),
        by_hand(0.2, ESTIMATES[estimate](0.2), rate=1.0),
        by_hand(0.2, ESTIMATES[estimate](0.2), free_steps=5),
        by_hand(0.2, ESTIMATES[estimate](0.2), nudged_steps=3),
    ):
        assert distance(other[1], expected) > 1e-3


def test_a_random_sign_is_one_of_both_sides_and_drawn_anew_at_every_call():
    params, data = weights()
    rule = EP(0.2, 6, 4, rate=0.8, gain=0.6, estimate="random sign")
    learner = apical.value_and_grad(loss_fn, rule)
    sides = [by_hand(b, ESTIMATES["one-sided"](b))[1] for b in (0.2, -0.2)]
    state, call, drawn = learner.init(KEY, params, *data), jax.jit(learner), []
    for _ in range(12):
        credit = call(params, state, *data)
        state = credit.state
        drawn.append([distance(credit.grads, side) < 1e-8 for side in sides])
    assert {tuple(which) for which in drawn} == {(True, False), (False, True)}
    assert distance(*sides) > 0.1


def test_predictions_and_signals_are_those_of_the_free_state():
    params, data = weights()
    rule = EP(0.2, 6, 4, rate=0.8, gain=0.6)
    free, _ = by_hand(0.2, ESTIMATES["centred"](0.2))
    learner = apical.value_and_grad(loss_fn, rule)
    np.testing.assert_allclose(jax.jit(learner.predict)(params, (), *data), free.out)
    signals = jax.jit(apical.value_and_grad(loss_fn, rule).signals)(params, (), *data)
    np.testing.assert_allclose(signals["0"].value, free.one)
    predicted = np.tanh(np.asarray(data[0]) @ params[0]["w"] + params[0]["b"])
    np.testing.assert_allclose(signals["0"].prediction, predicted)
    # The first layer reads the data: its product is that of the signal alone.
    grads = credit_of(rule, loss_fn, params, data).grads
    assert_close(np.asarray(data[0]).T @ signals["0"].teaching, grads[0]["w"])


# ------------------------------------------------- the gradient of the equilibrium loss


def equilibrium(theta, x, y, gain):
    """The gradient of one example at rest, by implicit derivatives."""

    def moved(theta, s):
        one, two = s[:7], s[7:]
        (w0, b0), (w1, b1) = ((p["w"], p["b"]) for p in theta[:2])
        drives = x @ w0 + b0 + gain * w1 @ two, one @ w1 + b1
        return jnp.tanh(jnp.concatenate(drives))

    def loss(theta, s):
        return 0.5 * jnp.sum((s[7:] @ theta[2]["w"] + theta[2]["b"] - y) ** 2)

    s = jax.lax.fori_loop(0, 400, lambda _, s: moved(theta, s), jnp.zeros(13))
    through = jax.jacobian(moved, argnums=1)(theta, s)
    adjoint = jnp.linalg.solve(jnp.eye(13) - through.T, jax.grad(loss, 1)(theta, s))
    (indirect,) = jax.vjp(lambda theta: moved(theta, s), theta)[1](adjoint)
    return jax.tree.map(jnp.add, indirect, jax.grad(loss)(theta, s))


@functools.cache
def implicit(gain=1.0):
    params, data = weights()
    each = jax.vmap(lambda x, y: equilibrium(params, x, y, gain))(*data)
    return jax.tree.map(lambda g: np.mean(g, axis=0), each)


def errors(nudges, **options):
    """How far from the implicit gradient the estimate is, at several nudges."""
    params, data = weights()

    def grads(nudge):
        rule = EP(nudge, 300, 300, rate=1.0, **options)
        return apical.value_and_grad(loss_fn, rule)(params, (), *data).grads

    found = jax.jit(jax.vmap(grads))(jnp.asarray(nudges))
    truth = implicit(options.get("gain", 1.0))
    rows = [jax.tree.map(lambda x, i=i: x[i], found) for i in range(len(nudges))]
    return np.array([distance(row, truth) for row in rows])


ORDERS = {
    "one-sided": 1,
    "centred": 2,
    Holomorphic(2): 2,
    Holomorphic(3): 3,
    Holomorphic(6): 6,
}


@pytest.mark.parametrize("estimate", ORDERS, ids=str)
def test_the_error_falls_as_the_nudge_to_the_order_of_the_estimate(estimate):
    order, nudges = ORDERS[estimate], np.array([0.1, 0.05])
    found = errors(nudges, estimate=estimate)
    assert found[0] < 0.3
    np.testing.assert_allclose(found[0] / found[1], 2**order, rtol=0.25)
    if order == 6:
        assert found[1] < 1e-5


def test_it_is_another_gradient_than_that_of_the_feed_forward_network():
    params, data = weights()
    forward = jax.grad(loss_fn)(params, *data)
    assert distance(forward, implicit()) > 0.1
    rule = EP(free_steps=200, rate=1.0)
    circuit = apical.trace(loss_fn, nodes="unit")(params, *data)
    assert_close(rule.reference(circuit, params, (), data), implicit(), 1e-6)
    # Weak feedback makes it that one.
    weak = credit_of(EP(1e-3, 9, 9, rate=1.0, gain=1e-3), loss_fn, params, data).grads
    assert distance(weak, forward) < 5e-3


def test_two_points_on_a_circle_are_the_centred_estimate():
    params, data = weights()
    circle, line = (
        credit_of(EP(0.2, 5, 5, estimate=e), loss_fn, params, data).grads
        for e in (Holomorphic(2), "centred")
    )
    assert_close(circle, line, 1e-8, 1e-10)


# ------------------------------------------------------------------- what has settled


def triangle(params, x, y):
    """Three units that push each other down: all at once they go up and down."""
    one = jnp.tanh(x)
    two = jnp.tanh(one @ params["a"] + 1)
    three = jnp.tanh(two @ params["b"] + 1)
    four = jnp.tanh(two @ params["c"] + three @ params["d"] + 1)
    return jnp.mean((four @ params["e"] - y) ** 2)


def test_oscillations_are_reported_and_settle_when_damped():
    w = {k: jnp.full((1, 1), -2.0) for k in "abcd"} | {"e": jnp.ones((1, 1))}
    args = jnp.zeros((2, 1)), jnp.zeros((2, 1))
    wild = credit_of(EP(0.1, 100, 100, rate=1.0), triangle, w, args).info
    damped = credit_of(EP(0.1, 100, 100, rate=0.2), triangle, w, args).info
    assert wild.settled.shape == wild.residual.shape == (3,)
    assert not np.any(wild.settled)
    assert np.all(damped.settled)


def test_the_residual_is_about_the_error_that_is_left():
    params, data = weights()
    exact = credit_of(EP(0.1, 400, 400), loss_fn, params, data).grads
    short, long = (
        credit_of(EP(0.1, *steps), loss_fn, params, data)
        for steps in ((200, 3), (200, 150))
    )
    assert short.info.settled.tolist() == [True, False, False]
    assert long.info.settled.tolist() == [True, True, True]
    for credit in (short, long):
        worst = float(np.max(credit.info.residual))
        assert worst / 10 < distance(credit.grads, exact) < 10 * worst


# ------------------------------------------------------------------- as in the papers


PAPER = EP(nudge=0.1, free_steps=30, nudged_steps=10, rate=1.0)


def hard_sigmoid(z):
    return jnp.clip(z, 0, 1)


def perceptron(params, x, y):
    """Units to the end: the output is one, and its squared error pulls at it."""
    h = hard_sigmoid(x @ params["in"])
    out = apical.node(hard_sigmoid(h @ params["out"]), "out")
    return 0.5 * jnp.sum((apical.output(out) - y) ** 2) / len(x)


def settle_like_laborieux(w, v, x, y, nudge, steps, h, out):
    for _ in range(steps):
        drives = x @ w + out @ v.T, h @ v + nudge * (y - out)
        h, out = (np.clip(z, 0, 1) for z in drives)
    return h, out


def test_an_output_of_units_with_hard_sigmoids_by_hand():
    draw = np.random.default_rng(0)
    w, v = draw.normal(size=(8, 6)) / 3, draw.normal(size=(6, 3)) / 3
    x, y = draw.uniform(size=(5, 8)), np.eye(3)[[0, 1, 2, 0, 1]]
    nothing = np.zeros((5, 6)), np.zeros((5, 3))
    h, out = settle_like_laborieux(w, v, x, y, 0.0, 30, *nothing)
    ends = [settle_like_laborieux(w, v, x, y, b, 10, h, out) for b in (0.1, -0.1)]
    (h1, out1), (h2, out2) = ends
    expected = {"in": -x.T @ (h1 - h2) / 1, "out": -(h1.T @ out1 - h2.T @ out2)}
    expected = jax.tree.map(lambda g: g / (2 * 0.1) / 5, expected)
    params = {"in": jnp.asarray(w), "out": jnp.asarray(v)}
    args = jnp.asarray(x), jnp.asarray(y)
    found = credit_of(PAPER, perceptron, params, args)
    assert_close(found.grads, expected, 1e-8)
    assert 0 < np.mean((out == 0) | (out == 1)) < 1  # both branches are met
    learner = apical.value_and_grad(perceptron, PAPER)
    np.testing.assert_allclose(jax.jit(learner.predict)(params, (), *args), out)
    step = apical.train_step(perceptron, PAPER, optax.adam(5e-2))
    state, call, losses = step.init(KEY, params, *args), jax.jit(step), []
    for _ in range(30):
        params, state, credit = call(params, state, *args)
        losses.append(float(credit.value))
    assert losses[-1] < 0.7 * losses[0]
