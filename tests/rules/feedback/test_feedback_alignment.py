"""Feedback alignment, compared with networks and equations written by hand."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import (
    array,
    assert_close,
    assert_same,
    backward,
    batch,
    cosine,
    distance,
    layers,
    loss_fn,
    network,
    weights,
)

import apical
from apical.rules import FeedbackAlignment
from apical.rules.feedback._feedback_weights import require_different

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(4, 5, 3)


def start(loss_fn, params, data, rule=None, key=KEY):
    learner = apical.value_and_grad(loss_fn, rule or FeedbackAlignment())
    return jax.jit(learner), jax.jit(learner.init)(key, params, *data)


@functools.cache
def usual(rule=None):
    return start(loss_fn, PARAMS, DATA, rule)


# ------------------------------------------------------------------ the definition


def test_with_the_forward_weights_it_is_backpropagation_and_with_others_it_is_not():
    learner, state = usual()
    expected = jax.grad(loss_fn)(PARAMS, *DATA)
    assert_close(
        learner(PARAMS, state._replace(feedback=PARAMS), *DATA).grads, expected
    )
    random = learner(PARAMS, state, *DATA).grads
    assert_close(random[-1], expected[-1])
    for lower, exact in zip(random[:-1], expected[:-1], strict=True):
        assert distance(lower, exact) > 0.3


def test_random_feedback_equals_three_layers_by_hand():
    learner, state = usual()
    credit = learner(PARAMS, state, *DATA)
    expected, _ = backward(PARAMS, weights(state.feedback), *DATA)
    np.testing.assert_allclose(credit.value, loss_fn(PARAMS, *DATA), rtol=1e-6)
    assert_close(credit.grads, expected)


def rnn_loss(params, x, y):
    """A recurrent network: x has the shape [time, example, input]."""

    def step(h, x):
        h = jnp.tanh(h @ params["u"] + x @ params["w"] + params["b"])
        return h, None

    h, _ = jax.lax.scan(step, jnp.zeros((x.shape[1], 6)), x)
    return 0.5 * jnp.sum((h @ params["v"] - y) ** 2) / len(y)


def rnn_by_hand(params, feedback, x, y):
    """Feedback alignment through time: the error goes back in time through B_u."""
    params, feedback, x, y = jax.tree.map(np.asarray, (params, feedback, x, y))
    h = [np.zeros((x.shape[1], 6))]
    for now in x:
        h.append(np.tanh(h[-1] @ params["u"] + now @ params["w"] + params["b"]))
    error = (h[-1] @ params["v"] - y) / len(y)
    grads = {name: np.zeros_like(leaf) for name, leaf in params.items()}
    grads["v"] = h[-1].T @ error
    signal = error @ feedback["v"].T
    for t in reversed(range(len(x))):
        drive = signal * (1 - h[t + 1] ** 2)
        grads["u"] += h[t].T @ drive
        grads["w"] += x[t].T @ drive
        grads["b"] += drive.sum(axis=0)
        signal = drive @ feedback["u"].T
    return grads


def test_through_time_it_equals_five_steps_by_hand():
    draw = np.random.default_rng(0)
    params = {"u": 0.4 * array(draw, 6, 6), "w": array(draw, 3, 6)}
    params |= {"b": array(draw, 6), "v": array(draw, 6, 2)}
    data = array(draw, 5, 4, 3), array(draw, 4, 2)
    learner = apical.value_and_grad(rnn_loss, FeedbackAlignment(), batch_axes=(1, 0))
    state = jax.jit(learner.init)(KEY, params, *data)
    call = jax.jit(learner)
    expected = rnn_by_hand(params, state.feedback, *data)
    assert_close(call(params, state, *data).grads, expected)
    assert distance(expected["u"], rnn_by_hand(params, params, *data)["u"]) > 0.3
    exact = call(params, state._replace(feedback=params), *data).grads
    assert_close(exact, jax.grad(rnn_loss)(params, *data))


# ------------------------------------------------------- the invariant (Lillicrap 2016)


def linear_loss(params, x, y):
    return 0.5 * jnp.sum((x @ params["A"].T @ params["W"].T - y) ** 2) / len(x)


def drift(step: float, params, data, feedback=None):
    """Return how far BW + W'B' - AA' and AA' move in one unit of time, |AA'| = 1."""
    learner, state = start(linear_loss, params, data)
    B = state.feedback["W"].T  # it has the shape of W: the signal is B e

    def move(params, _):
        here = params if feedback == "own" else state.feedback
        grads = learner(params, state._replace(feedback=here), *data).grads
        return jax.tree.map(lambda w, g: w - step * g, params, grads), None

    train = jax.jit(lambda p: jax.lax.scan(move, p, length=round(1 / step))[0])
    end = train(params)

    def invariant(p):
        return B @ p["W"] + p["W"].T @ B.T - p["A"] @ p["A"].T

    moved = end["A"] @ end["A"].T - params["A"] @ params["A"].T
    return np.linalg.norm(invariant(end) - invariant(params)) / np.linalg.norm(moved)


def test_a_linear_network_keeps_the_invariant_of_the_paper_to_first_order():
    """dW/dt = e (Ax)' and dA/dt = B e x', so BW + W'B' - AA' stands still."""
    draw = np.random.default_rng(0)
    params = {"A": 0.3 * array(draw, 6, 5), "W": 0.3 * array(draw, 4, 6)}
    x = array(draw, 30, 5)
    data = x, x @ array(draw, 5, 4)
    coarse, fine = drift(0.01, params, data), drift(0.005, params, data)
    assert fine < 0.02
    np.testing.assert_allclose(coarse / fine, 2, rtol=0.1)
    assert drift(0.005, params, data, feedback="own") > 0.2


# ------------------------------------------------------------- removed connections

SPARSE = FeedbackAlignment(removed_forward=0.5, removed_backward=0.25)


def test_the_fractions_of_connections_are_removed():
    params, data = layers(40, 50, 40, 30), batch(2, 40, 30)
    _, state = start(loss_fn, params, data, SPARSE)
    forward, backward, _ = state.connections
    for mask, other in zip(forward, backward, strict=True):
        assert mask["b"] is other["b"] is None
        assert set(np.unique(mask["w"])) == set(np.unique(other["w"])) == {0, 1}
        assert abs(np.mean(mask["w"] == 0) - 0.5) < 0.05
        assert abs(np.mean(other["w"] == 0) - 0.25) < 0.05
    together = np.mean((forward[1]["w"] == 0) & (backward[1]["w"] == 0))
    assert abs(together - 0.125) < 0.03  # which ones: drawn independently


def test_removed_connections_equal_a_sparse_network_by_hand():
    learner, state = usual(SPARSE)
    there = [{"w": m["w"], "b": 1.0} for m in state.connections.forward]
    sparse = jax.tree.map(jnp.multiply, PARAMS, there)
    pairs = zip(state.feedback, state.connections.backward, strict=True)
    copies = [b["w"] * m["w"] for b, m in pairs]
    expected, _ = backward(sparse, copies, *DATA)
    expected = jax.tree.map(np.multiply, expected, there)
    credit = learner(PARAMS, state, *DATA)
    assert_close(credit.grads, expected)
    np.testing.assert_allclose(credit.value, loss_fn(sparse, *DATA), rtol=1e-6)
    assert distance(credit.value, loss_fn(PARAMS, *DATA)) > 0.01


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optax.sgd(0.1, momentum=0.9)])
def test_removed_connections_stay_removed_through_training(optimizer):
    trainer = apical.train_step(loss_fn, SPARSE, optimizer)
    state = jax.jit(trainer.init)(KEY, PARAMS, *DATA)
    step, params, first = jax.jit(trainer), PARAMS, state.rule
    losses = []
    for _ in range(50):
        params, state, credit = step(params, state, *DATA)
        losses.append(credit.value)
    assert_same(state.rule, first)
    assert losses[-1] < 0.9 * losses[0]
    for now, before, mask in zip(
        params, PARAMS, first.connections.forward, strict=True
    ):
        removed = np.asarray(mask["w"]) == 0
        stayed = np.asarray(now["w"]) == np.asarray(before["w"])
        np.testing.assert_array_equal(stayed, removed)


def test_predict_reads_removed_connections_as_zero():
    predict = jax.jit(apical.value_and_grad(loss_fn, SPARSE).predict)
    _, state = usual(SPARSE)
    zeroed = [
        {"w": p["w"] * m["w"], "b": p["b"]}
        for p, m in zip(PARAMS, state.connections.forward, strict=True)
    ]
    wild = [
        {"w": z["w"] + 99 * (1 - m["w"]), "b": z["b"]}
        for z, m in zip(zeroed, state.connections.forward, strict=True)
    ]
    expected = network(zeroed, DATA[0])
    assert_close(predict(PARAMS, state, *DATA), expected)
    assert_close(predict(wild, state, *DATA), expected)
    assert distance(network(PARAMS, DATA[0]), expected) > 0.1


@pytest.mark.parametrize("name", ["removed_forward", "removed_backward"])
def test_a_fraction_outside_0_and_1_is_refused(name):
    with pytest.raises(ValueError, match=rf"`{name}` is a fraction between 0 and 1"):
        FeedbackAlignment(**{name: 1.5})


@pytest.mark.parametrize("name", ["removed_forward", "removed_backward"])
def test_connections_of_a_composed_weight_cannot_be_removed(name):
    def lora(params, x, y):
        h = jnp.tanh(x @ (params["w"] + params["a"] @ params["b"]))
        return jnp.mean((h - y) ** 2)

    params = {"w": jnp.ones((5, 3)), "a": jnp.ones((5, 1)), "b": jnp.ones((1, 3))}
    learner = apical.value_and_grad(lora, FeedbackAlignment(**{name: 0.5}))
    with pytest.raises(ValueError, match=rf"`{name}`.*computed from 'a \+ b \+ w'"):
        learner.init(KEY, params, *DATA)


# -------------------------------------------------------- gains of normalisations


def normed(params, x):
    h = x @ params["w"]
    return (h - jnp.mean(h, -1, keepdims=True)) / jnp.std(h, -1, keepdims=True)


def normed_loss(params, x, y):
    h = jnp.tanh(normed(params, x) * params["gain"])
    return 0.5 * jnp.sum((h @ params["v"] - y) ** 2) / len(x)


def normed_by_hand(copy, params, x, y):
    """The signal passes the gain and the upper weight through their copies."""
    sg = jax.lax.stop_gradient
    n = normed(params, x)
    z = sg(n) * params["gain"] + n * copy["gain"] - sg(n * copy["gain"])
    h = jnp.tanh(z)
    y_hat = sg(h) @ params["v"] + h @ copy["v"] - sg(h @ copy["v"])
    return 0.5 * jnp.sum((y_hat - y) ** 2) / len(x)


def test_gains_are_transported_unless_asked_for_feedback():
    draw = np.random.default_rng(0)
    params = {
        "w": array(draw, 5, 7),
        "gain": 1 + array(draw, 7),
        "v": array(draw, 7, 3),
    }
    by_hand = jax.jit(jax.grad(normed_by_hand, argnums=1))
    found = {}
    for gains in ("forward", "feedback"):
        learner, state = start(
            normed_loss, params, DATA, FeedbackAlignment(gains=gains)
        )
        copy = {**state.feedback, "v": params["v"]}  # so that the gain alone differs
        found[gains] = learner(params, state._replace(feedback=copy), *DATA).grads
        copy = {**copy, "gain": params["gain"] if gains == "forward" else copy["gain"]}
        assert_close(found[gains], by_hand(copy, params, *DATA))
        assert (state.feedback["gain"] is None) == (gains == "forward")
    assert_close(found["forward"], jax.grad(normed_loss)(params, *DATA))
    assert distance(found["feedback"]["w"], found["forward"]["w"]) > 0.3
    assert_close(found["feedback"]["gain"], found["forward"]["gain"])


def test_an_unknown_value_of_gains_is_refused():
    with pytest.raises(ValueError, match="`gains` must be one of"):
        FeedbackAlignment(gains="mine")


# ---------------------------------------------------------------------- the state


def test_the_state_can_be_saved_and_restored():
    learner, state = usual(SPARSE)
    restored = pickle.loads(pickle.dumps(jax.device_get(state)))
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    before, after = (learner(PARAMS, s, *DATA).grads for s in (state, restored))
    assert_same(after, before)


def test_many_seeds_at_once_equal_one_after_the_other():
    learner = apical.value_and_grad(loss_fn, FeedbackAlignment(removed_forward=0.3))
    keys = jax.random.split(KEY, 3)
    every = [layers(5, 7, 6, 3, seed=seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *every)

    def both(key, params):
        state = learner.init(key, params, *DATA)
        return state, learner(params, state, *DATA)

    together = jax.jit(jax.vmap(both))(keys, stacked)
    one = jax.jit(both)
    for i, params in enumerate(every):
        found = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        assert_close(found, one(keys[i], params))
    first, second, _ = together[0].feedback[1]["w"]
    assert distance(first, second) > 1


def test_feedback_from_the_key_of_the_parameters_is_not_the_parameters():
    """`fold_in(key, i)` equals `split(key, n)[i]`, whoever calls which."""
    shapes, data = ((10, 20), (20, 20), (20, 3)), batch(2, 10, 3)

    @jax.jit
    def draws(key):
        folded = [jax.random.fold_in(key, i) for i in range(3)]
        each = [[key] * 3, jax.random.split(key, 3), folded]
        drawn = [[*map(jax.random.normal, keys, shapes)] for keys in each]
        # The rule splits its own key in three, and draws all leaves at once.
        flat = jax.random.normal(jax.random.split(key, 3)[0], (660,))
        at_once = jnp.split(flat, [200, 600])
        return [*drawn, [w.reshape(s) for w, s in zip(at_once, shapes, strict=True)]]

    init = jax.jit(apical.value_and_grad(loss_fn, FeedbackAlignment()).init)
    for drawn in draws(KEY):
        params = [{"w": w, "b": jnp.zeros(w.shape[1])} for w in drawn]
        state = init(KEY, params, *data)
        for weight, copy in zip(drawn, weights(state.feedback), strict=True):
            assert abs(cosine(weight, copy)) < 4 / weight.size**0.5
            np.testing.assert_allclose(np.std(copy) / np.std(weight), 1, atol=0.4)


def test_feedback_that_is_the_forward_weights_is_refused():
    circuit = apical.trace(loss_fn)(PARAMS, *DATA)
    copies = [{"w": w, "b": None} for w in weights(PARAMS)]
    with pytest.raises(
        ValueError, match=r"feedback weights of '0.w' equal the forward"
    ):
        require_different(circuit, PARAMS, copies)


def test_feedback_of_zero_weights_has_the_size_of_the_fan_in():
    """Weights start at zero in Lillicrap et al.; zero feedback could not train them."""
    params = jax.tree.map(jnp.zeros_like, layers(40, 50, 30))
    _, state = start(loss_fn, params, batch(2, 40, 30))
    for copy, fan_in in zip(weights(state.feedback), (40, 50), strict=True):
        np.testing.assert_allclose(np.std(copy), fan_in**-0.5, rtol=0.1)


def test_small_forward_weights_align_with_the_feedback():
    """The first gradients of the upper layer align it (Lillicrap 2016, figure 2)."""
    rule, copies = FeedbackAlignment(), layers(10, 20, 5, seed=3)
    params = jax.tree.map(lambda leaf: 0.1 * leaf, layers(10, 20, 5))
    x, _ = batch(50, 10, 5)
    data = x, network(layers(10, 20, 5, seed=9), x)
    trainer = apical.train_step(loss_fn, rule, optax.sgd(0.1))
    state = jax.jit(trainer.init)(KEY, params, *data)
    state = state._replace(
        rule=state.rule._replace(feedback=[{"w": c["w"], "b": None} for c in copies])
    )
    measure, step = apical.measure.alignment(trainer.learner), jax.jit(trainer)
    before = measure(params, state.rule, *data).leaves["0.w"].cosine
    for _ in range(200):
        params, state, _ = step(params, state, *data)
    after = measure(params, state.rule, *data).leaves["0.w"].cosine
    assert before < 0.3
    assert after > 0.6
