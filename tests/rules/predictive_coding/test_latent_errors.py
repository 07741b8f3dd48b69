"""Arguments that are inferred together with the errors, by the solvers of errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, distance
from support.latent_causes import KEYS, U, W, X

import apical
from apical.rules import ConjugateGradients, ErrorRelaxation, PredictiveCoding

PRIOR, INNER, DATA = 0.5, 2.0, 3.0  # precisions of the cause, the node and the data


def loss_fn(w, u, x):
    """A cause u, a node v above the data x: linear, so the energy is quadratic."""
    missed = apical.node(u @ w["a"], "v") @ w["b"] - x
    return (DATA * jnp.sum(missed**2) + PRIOR * jnp.sum(u**2)) / 2 / len(x)


def posterior(w, x, prior=PRIOR, inner=INNER):
    """The mean of cause and node given the data: the solution of a linear system."""
    a, b, x = (np.asarray(v, float) for v in (w["a"], w["b"], x))
    upper = [prior * np.eye(len(a)) + inner * a @ a.T, -inner * a]
    lower = [-inner * a.T, inner * np.eye(len(b)) + DATA * b @ b.T]
    seen = np.concatenate([np.zeros((len(x), len(a))), DATA * x @ b.T], 1)
    both = np.linalg.solve(np.block([upper, lower]), seen.T).T
    return both[:, : len(a)], both[:, len(a) :]


def solver(inference, steps, free=(True, False), loss_fn=loss_fn, **keywords):
    rule = PredictiveCoding(
        steps, prediction="free", inference=inference, precision={"v": INNER}, free=free
    )
    return apical.value_and_grad(loss_fn, rule, **keywords)


def inferred(learner, w, *args):
    """The cause, the value of the node, and the diagnostics."""
    state = learner.init(KEYS[0], w, *args)
    node = jax.jit(learner.signals)(w, state, *args)["v"].value
    cause = jax.jit(learner.predict)(w, state, *args)[0]
    return cause, node, jax.jit(learner)(w, state, *args).info


@pytest.mark.parametrize(
    "learner",
    [solver(ConjugateGradients(1), 6), solver(ErrorRelaxation(), 120)],
    ids=["conjugate gradients", "error relaxation"],
)
def test_a_quadratic_energy_is_solved(learner):
    """Six unknowns of each example: six iterations of conjugate gradients."""
    with jax.enable_x64(True):
        w, u, x = jax.tree.map(lambda v: v.astype(float), (W, U, X))
        cause, node, info = inferred(learner, w, u, x)
        assert_close((cause, node), posterior(w, x), rtol=1e-6, atol=1e-8)
        assert info.settled
        apart = posterior(w, x, inner=2 * INNER)
        assert distance(cause, apart[0]) > 1e-2


def test_fewer_iterations_than_unknowns_are_not_exact():
    with jax.enable_x64(True):
        w, u, x = jax.tree.map(lambda v: v.astype(float), (W, U, X))
        expected = posterior(w, x)[0]

        def apart(steps):
            learner = solver(ConjugateGradients(1), steps)
            return distance(inferred(learner, w, u, x)[0], expected)

        assert apart(6) < 1e-8 < 1e-3 < apart(3)


def test_the_gradients_are_those_of_the_energy_at_the_solution():
    learner = solver(ConjugateGradients(), 6)
    credit = jax.jit(learner)(W, learner.init(KEYS[0], W, U, X), U, X)
    u, v = posterior(W, X)
    a, b, x = np.asarray(W["a"]), np.asarray(W["b"]), np.asarray(X)
    expected = {
        "a": -INNER * u.T @ (v - u @ a) / len(x),
        "b": DATA * v.T @ (v @ b - x) / len(x),
    }
    assert_close(credit.grads, expected, rtol=1e-3, atol=1e-4)
    assert_close(credit.value, loss_fn(W, jnp.asarray(u, jnp.float32), X), rtol=1e-4)
    assert distance(credit.grads, jax.grad(loss_fn)(W, U, X)) > 0.1


def tanh_loss(w, u, x):
    missed = jnp.tanh(u @ w["a"]) @ w["b"] - x
    return (jnp.sum(missed**2) + jnp.sum(u**2)) / 2 / len(x)


def test_steps_of_errors_and_arguments_equal_those_by_hand():
    """Each step reads the total derivative with respect to the cause."""
    rule = PredictiveCoding(
        7,
        prediction="free",
        inference=ErrorRelaxation(optax.sgd(0.1)),
        free=(True, False),
    )
    found = apical.value_and_grad(tanh_loss, rule).predict(W, (), U, X)[0]
    a, b, u, x = (np.asarray(v) for v in (W["a"], W["b"], U, X))
    e = np.zeros((len(x), a.shape[1]))
    for _ in range(7):
        p = np.tanh(u @ a)
        back = ((p + e) @ b - x) @ b.T
        e, u = e - 0.1 * (e + back), u - 0.1 * (u + (back * (1 - p**2)) @ a.T)
    assert_close(found, u)
    values = PredictiveCoding(7, 0.1, prediction="free", free=(True, False))
    other = apical.value_and_grad(tanh_loss, values).predict(W, (), U, X)[0]
    assert distance(found, other) > 1e-2


@pytest.mark.parametrize("inference", [ConjugateGradients(1), ErrorRelaxation()])
def test_an_example_is_inferred_as_if_it_were_alone(inference):
    rule = PredictiveCoding(
        4, prediction="free", inference=inference, free=(True, False)
    )
    predict = apical.value_and_grad(loss_fn, rule).predict
    with jax.enable_x64(True):
        w, u, x = jax.tree.map(lambda v: v.astype(float), (W, U, X))
        together = predict(w, (), u, x)[0]
        assert_close(together[1:2], predict(w, (), u[1:2], x[1:2])[0])
        wild = predict(w, (), u, x.at[0].mul(30.0))[0]
        assert_close(wild[1:], together[1:])
        assert distance(wild[0], together[0]) > 0.1


def test_missing_entries_are_solved_for_and_the_others_stay():
    """The data that are free are what the node predicts; the rest determine it."""
    kept = jnp.array([True, True, False])
    learner = solver(ConjugateGradients(3), 12, lambda u, x: (True, ~kept))
    filled = jax.jit(learner.predict)(W, learner.init(KEYS[0], W, U, X), U, X)
    cause, node = posterior({**W, "b": W["b"][:, :2]}, X[:, :2])
    assert_close(filled[0], cause, rtol=1e-3, atol=1e-4)
    assert_close(filled[1][:, 2], (node @ W["b"])[:, 2], rtol=1e-3, atol=1e-4)
    assert jnp.array_equal(filled[1][:, :2], X[:, :2])
    assert distance(filled[0], posterior(W, X)[0]) > 1e-2


@pytest.mark.parametrize("inference", [ConjugateGradients(3), ErrorRelaxation()])
def test_a_cause_without_nodes_is_ridge_regression(inference):
    def linear(w, u, x):
        return (jnp.sum((u @ w - x) ** 2) + jnp.sum(u**2)) / 2 / len(x)

    w, x = W["b"][:2], X
    rule = PredictiveCoding(
        40, prediction="free", inference=inference, free=(True, False)
    )
    learner = apical.value_and_grad(linear, rule)
    learner.init(KEYS[0], w, U, x)
    found, _ = jax.jit(learner.predict)(w, (), U, x)
    assert_close(found, x @ w.T @ jnp.linalg.inv(w @ w.T + jnp.eye(2)), atol=1e-4)


@pytest.mark.parametrize("inference", [ConjugateGradients(3), ErrorRelaxation()])
def test_a_cause_that_all_examples_share_is_solved_from_all_of_them(inference):
    def shared(w, u, x):
        missed = apical.node(u @ w["a"] + 0 * x[:, :1], "v") @ w["b"] - x
        return DATA * jnp.sum(missed**2) / 2 / len(x) + PRIOR * u @ u / 2

    learner = solver(inference, 60, loss_fn=shared, batch_axes=(None, 0))
    cause, _, info = inferred(learner, W, U[0], X)
    assert info.settled
    # With one example for each of the five, and the prior once for all of them.
    everyone = posterior(W, X.mean(0, keepdims=True))[0][0]
    assert_close(cause, everyone, rtol=1e-3, atol=1e-4)
    assert distance(cause, posterior(W, X)[0][0]) > 1e-2


def test_causes_that_change_nothing_stay_where_they_are():
    """Three data of four causes without a prior: rounding must not move the fourth."""

    def flat(w, u, x):
        missed = apical.node(u @ w["a"], "v") @ w["b"] - x
        return DATA * jnp.sum(missed**2) / 2 / len(x)

    with jax.enable_x64(True):
        u = jax.random.normal(KEYS[5], (5, 4))
        w = {"a": jax.random.normal(KEYS[6], (4, 4)), "b": W["b"].astype(float)}
        x = X.astype(float)
        learner = solver(ConjugateGradients(3), 30, loss_fn=flat)
        cause = jax.jit(learner.predict)(w, learner.init(KEYS[0], w, u, x), u, x)[0]
        matrix = np.asarray(w["a"] @ w["b"])
        least = u + (x - u @ matrix) @ np.linalg.pinv(matrix)
        assert_close(cause, least, rtol=1e-5, atol=1e-6)
        assert distance(u, least) > 0.1
