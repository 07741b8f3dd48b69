"""PEPITA: two passes, and the differences between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import (
    assert_close,
    assert_same,
    distance,
    layers,
    loss_fn,
    network,
)
from support.check_on import check_on
from support.local_objectives import (
    DATA,
    KEY,
    PARAMS,
    ZOO,
    W,
    X,
    Y,
    assert_learns_everywhere,
    called,
    layer,
    on_zoo,
    raised,
    readout,
)

import apical
from apical.rules import PEPITA, Backpropagation

LARGE = PEPITA(scale=1.0)


def by_hand(f, scale=1.0):
    """The two passes of the paper, with the signs of its updates."""
    one = layer(0, X)
    two = layer(1, one)
    error = two @ W[2]["w"] + W[2]["b"] - Y
    moved = X + scale * error @ f.T
    first = layer(0, moved)
    other = layer(1, first)
    changes = [(moved, (one - first) / 4), (first, (two - other) / 4)]
    grads = [{"w": b.T @ d, "b": d.sum(axis=0)} for b, d in changes]
    return [*grads, readout(other)]


def test_two_passes_by_hand():
    state, credit = called(LARGE)
    (f,) = map(np.asarray, state.feedback)
    assert f.shape == (5, 2)
    assert 0.5 < np.max(np.abs(f)) <= (6 / 5) ** 0.5
    expected = by_hand(f)
    assert_close(credit.grads, expected)
    assert distance(by_hand(-f)[:2], expected[:2]) > 0.5
    assert distance(by_hand(f, 0.5)[:2], expected[:2]) > 0.1
    assert distance(jax.grad(loss_fn)(PARAMS, *DATA)[:2], expected[:2]) > 0.5
    assert_close(credit.value, loss_fn(PARAMS, *DATA))
    assert_same(credit.state, state)


def test_the_error_is_that_of_the_loss():
    """Of a cross-entropy: softmax less one-hot."""
    labels = jnp.asarray(np.eye(2)[[0, 1, 1, 0]], float)

    def classify(params, x, y):
        logs = jax.nn.log_softmax(network(params, x))
        return -jnp.mean(jnp.sum(y * logs, axis=1))

    state, credit = called(LARGE, loss_fn=classify, data=(DATA[0], labels))
    (f,) = map(np.asarray, state.feedback)
    one = layer(0, X)
    error = np.asarray(jax.nn.softmax(network(PARAMS, DATA[0])) - labels)
    moved = X + error @ f.T
    assert_close(credit.grads[0]["w"], moved.T @ (one - layer(0, moved)) / 4)


def test_an_autoencoder_is_compared_with_the_true_input():
    params = layers(5, 4, 5)

    def again(params, x, y):
        del y
        return loss_fn(params, x, x)

    state, credit = called(LARGE, loss_fn=again, params=params)
    (f,) = map(np.asarray, state.feedback)
    w = jax.tree.map(np.asarray, params)

    def second(target_of):
        hidden = np.tanh(X @ w[0]["w"] + w[0]["b"])
        moved = X + (hidden @ w[1]["w"] + w[1]["b"] - X) @ f.T
        other = np.tanh(moved @ w[0]["w"] + w[0]["b"])
        return other.T @ (other @ w[1]["w"] + w[1]["b"] - target_of(moved)) / 4

    assert_close(credit.grads[1]["w"], second(lambda moved: X))
    assert distance(second(lambda moved: moved), second(lambda moved: X)) > 0.1


def test_an_output_that_is_a_node_learns_like_one_that_is_not():
    def squashed(mark):
        def loss(params, x, y):
            out = mark(jax.nn.sigmoid(network(params, x)))
            return jnp.sum((apical.output(out) - y) ** 2) / 2 / len(x)

        return loss

    plain, marked = (
        called(LARGE, loss_fn=squashed(mark))[1].grads
        for mark in (lambda out: out, lambda out: apical.node(out, "out"))
    )
    assert_close(marked, plain)
    assert np.max(np.abs(plain[2]["w"])) > 1e-3


def test_a_layer_receives_only_the_error_of_the_output():
    """Other weights above that do not change it leave the update bit-identical."""

    def given_error(params, x, y):
        return jnp.sum(network(params, x) * y) / len(x)

    state, found = called(LARGE, loss_fn=given_error)
    _, other = called(LARGE, raised(), given_error, state=state)
    assert_same(found.grads[0], other.grads[0])
    assert np.any(found.grads[0]["w"])
    assert distance(other.grads[1], found.grads[1]) > 0.1
    changed = [called(LARGE, p, state=state)[1].grads[0] for p in (PARAMS, raised())]
    assert distance(*changed) > 0.1
    true = [jax.grad(given_error)(p, *DATA)[0] for p in (PARAMS, raised())]
    assert distance(*true) > 0.1


def test_no_derivative_of_the_nonlinearity_is_needed():
    def stairs(params, x, y):
        value = jnp.floor(x @ params[0]["w"] + params[0]["b"])
        return 0.5 * jnp.sum((value @ params[2]["w"] - y) ** 2) / len(x)

    params = [PARAMS[0], None, layers(7, 2)[0]]
    state, found = called(LARGE, params, stairs)
    assert np.any(found.grads[0]["w"])
    assert not np.any(
        called(Backpropagation(), params, stairs, state=())[1].grads[0]["w"]
    )
    (f,) = map(np.asarray, state.feedback)

    def value(x):
        return np.floor(x @ W[0]["w"] + W[0]["b"])

    error = value(X) @ np.asarray(params[2]["w"]) - Y
    moved = X + error @ f.T
    assert_close(found.grads[0]["w"], moved.T @ (value(X) - value(moved)) / 4)


def test_with_a_summed_loss_the_second_input_is_the_same():
    def total(params, x, y):
        return len(x) * loss_fn(params, x, y)

    state, mean = called(LARGE)
    _, whole = called(LARGE, loss_fn=total, state=state, reduction="sum")
    assert_close(whole.grads, jax.tree.map(lambda g: 4 * g, mean.grads))


def test_each_input_receives_the_error_through_its_own_projection():
    def apart(params, one, two, y):
        return loss_fn(params, one + two.T, y)

    data = (DATA[0] - 1, jnp.ones((5, 4)), DATA[1])
    given = {"batch_axes": (0, 1, 0), "target": None, "input_argnums": (0, 1)}
    state, found = called(LARGE, loss_fn=apart, data=data, **given)
    assert [f.shape for f in state.feedback] == [(5, 2), (5, 2)]
    assert_close(found.grads, by_hand(sum(map(np.asarray, state.feedback))), rtol=1e-3)
    alone = called(LARGE, loss_fn=apart, data=data, **{**given, "input_argnums": 0})[1]
    assert distance(alone.grads[0], found.grads[0]) > 0.1


def test_the_signals_are_the_differences_between_the_passes():
    state, credit = called(LARGE)
    signals = apical.value_and_grad(loss_fn, LARGE, input_argnums=0).signals(
        PARAMS, state, *DATA
    )
    first = signals["0"]
    assert_close(first.prediction, layer(0, X))
    assert_close(first.teaching, (first.prediction - first.value) / 4)
    assert_close(credit.grads[0]["b"], np.sum(first.teaching, axis=0))


INPUTS = {**dict.fromkeys(ZOO, 0), "conv_residual": 1, "gru": 0}


@pytest.mark.parametrize("name", INPUTS)
def test_it_runs_on_other_models_too(name):
    found, call = on_zoo(name, LARGE, input_argnums=INPUTS[name])
    assert_learns_everywhere(found, call(found.learned))


# ---------------------------------------------------------------------------- refusals


def test_missing_requirements_are_named():
    def refuses(words, data=DATA, params=PARAMS, **keywords):
        given = {"input_argnums": 0, **keywords}
        with pytest.raises(ValueError, match=words):
            apical.value_and_grad(loss_fn, PEPITA(), **given).init(KEY, params, *data)

    refuses(
        "PEPITA changes the input of the network: pass `input_argnums=`",
        input_argnums=None,
    )
    refuses("names argument 3", input_argnums=3)
    refuses("The output has no axis of examples", batch_axes=None)
    refuses("argument 0 .* is int32", (jnp.ones((4, 5), int), DATA[1]))
    refuses("No node was found", params=layers(5, 2))
    with pytest.raises(ValueError, match="`scale` must be a finite number above 0"):
        PEPITA(scale=0.0)


def test_the_rule_keeps_the_laws():
    """A change at a drive is not pulled through a prediction."""
    given = {"loss_fn": loss_fn, "params": PARAMS, "args": DATA, "input_argnums": 0}
    check_on(PEPITA(), **given, skip=("pull",))


def test_an_input_that_no_node_depends_on_is_refused():
    with pytest.raises(ValueError, match=r"no node depends on `input_argnums=\(1,\)`"):
        called(PEPITA(), input_argnums=1)
