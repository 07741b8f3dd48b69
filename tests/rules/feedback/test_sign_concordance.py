"""Sign concordance: the signs are those of the effective weights, always."""

import functools

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
    distance,
    layers,
    loss_fn,
    weights,
)

import apical
from apical.rules import SignConcordance

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(9, 5, 3)


@functools.cache
def usual(rule):
    learner = apical.value_and_grad(loss_fn, rule)
    state = jax.jit(learner.init)(KEY, PARAMS, *DATA)
    return jax.jit(learner), state


@functools.cache
def signals_of(rule):
    return jax.jit(apical.value_and_grad(loss_fn, rule).signals)


@functools.cache
def training(rule, steps=5):
    """Return `(params, state)` before each step, and after the last.

    Every entry moves by 0.3 at each step, so that many a sign turns.
    """
    trainer = apical.train_step(loss_fn, rule, apical.optim.batch_manhattan(0.3))
    params, state = PARAMS, jax.jit(trainer.init)(KEY, PARAMS, *DATA)
    step, seen = jax.jit(trainer), [(params, state.rule)]
    for _ in range(steps):
        params, state, _ = step(params, state, *DATA)
        seen.append((params, state.rule))
    return seen


def some_signs_turn(seen) -> bool:
    pairs = zip(weights(seen[0][0])[1:], weights(seen[-1][0])[1:], strict=True)
    return all(np.any(np.sign(first) != np.sign(last)) for first, last in pairs)


def solve(rows, found):
    return np.linalg.lstsq(np.asarray(rows), np.asarray(found), rcond=None)[0].T


def feedback_weights(rule, params, state):
    """Read the weights off the backward path: what takes a signal to the one below.

    There are more examples than units in a layer, so the signals determine them.
    """
    x, y = DATA
    first, second = signals_of(rule)(params, state, x, y).values()
    error = (second.value @ params[2]["w"] + params[2]["b"] - y) / len(x)
    drive = second.teaching * (1 - second.value**2)
    return [solve(drive, first.teaching), solve(error, second.teaching)]


def scales():
    return [(2 / sum(weight.shape)) ** 0.5 for weight in weights(PARAMS)[1:]]


# --------------------------------------------------------------------- the signs


@pytest.mark.parametrize("magnitude", ["uniform", "fixed", "batch"])
def test_every_sign_is_that_of_its_forward_weight_at_every_step(magnitude):
    rule = SignConcordance(magnitude)
    seen = training(rule)
    for params, state in seen:
        found = feedback_weights(rule, params, state)
        for copy, weight in zip(found, weights(params)[1:], strict=True):
            np.testing.assert_array_equal(np.sign(copy), np.sign(weight))
    assert some_signs_turn(seen)


def adapted_loss(params, x, c):
    """The loss is linear in the output, with slopes `c`."""
    h = jnp.tanh(x @ params["in"])
    return jnp.sum(h @ (params["w"] + params["a"] @ params["b"]) * c) / len(x)


def test_signs_are_those_of_the_effective_weight_of_a_sum_of_products():
    """sign(W) + sign(A) sign(B) is another matrix."""
    draw = np.random.default_rng(0)
    params = {"in": array(draw, 5, 6), "w": 0.5 * array(draw, 6, 4)}
    params |= {"a": array(draw, 6, 2), "b": array(draw, 2, 4)}
    x, slopes = array(draw, 4, 5), 4 * jnp.eye(4)
    trainer = apical.train_step(adapted_loss, SignConcordance(), optax.sgd(0.3))
    state, step = jax.jit(trainer.init)(KEY, params, x, slopes), jax.jit(trainer)
    signals = jax.jit(trainer.learner.signals)
    for _ in range(3):
        (hidden,) = signals(params, state.rule, x, slopes).values()
        effective = np.asarray(params["w"] + params["a"] @ params["b"])
        np.testing.assert_allclose(hidden.teaching.T, 0.2**0.5 * np.sign(effective))
        leafwise = np.sign(params["w"]) + np.sign(params["a"]) @ np.sign(params["b"])
        assert np.any(np.sign(leafwise) != np.sign(effective))
        params, state, _ = step(params, state, x, slopes)


# ----------------------------------------------------------------- the magnitudes


def test_uniform_magnitudes_are_the_scale_of_the_layer():
    rule = SignConcordance()
    for copy, scale in zip(
        feedback_weights(rule, PARAMS, usual(rule)[1]), scales(), strict=True
    ):
        np.testing.assert_allclose(np.abs(copy), scale, rtol=1e-3)


def test_fixed_magnitudes_are_drawn_once_and_held_while_the_weights_move():
    rule = SignConcordance("fixed")
    seen = training(rule)
    first = weights(seen[0][1].magnitude)
    for params, state in seen:
        assert_same(weights(state.magnitude), first)
        found = feedback_weights(rule, params, state)
        for copy, scale, magnitude in zip(found, scales(), first[1:], strict=True):
            np.testing.assert_allclose(np.abs(copy), scale * magnitude, atol=1e-3)
    assert all(np.std(each) > 0.2 for each in first)


def test_random_magnitudes_are_absolute_values_of_normal_numbers():
    params, data = layers(40, 50, 30), batch(2, 40, 30)
    learner = apical.value_and_grad(loss_fn, SignConcordance("fixed"))
    state = jax.jit(learner.init)(KEY, params, *data)
    for magnitude in weights(state.magnitude):
        assert np.min(magnitude) >= 0
        np.testing.assert_allclose(np.mean(magnitude), (2 / np.pi) ** 0.5, rtol=0.1)
        np.testing.assert_allclose(np.mean(np.square(magnitude)), 1, rtol=0.1)


def test_batch_magnitudes_are_drawn_anew_at_every_call_and_repeat_with_their_state():
    rule = SignConcordance("batch")
    learner, state = usual(rule)
    once, again = learner(PARAMS, state, *DATA), learner(PARAMS, state, *DATA)
    later = learner(PARAMS, once.state, *DATA)
    last = learner(PARAMS, later.state, *DATA)
    assert_same(again.grads, once.grads)
    for here, there in [(later, once), (last, later), (last, once)]:
        assert distance(here.grads[0], there.grads[0]) > 0.05
        assert_close(here.grads[2], there.grads[2])
    # A signal is what the gradients of the same state were made of.
    expected, _ = backward(
        PARAMS, [PARAMS[0]["w"], *feedback_weights(rule, PARAMS, state)], *DATA
    )
    assert_close(once.grads, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("magnitude", ["uniform", "fixed"])
def test_it_equals_three_layers_by_hand(magnitude):
    learner, state = usual(SignConcordance(magnitude, concordance=0.7))
    copies = [PARAMS[0]["w"]]  # nothing goes back to the data
    for i, scale in enumerate(scales(), start=1):
        factor = state.agreement[i]["w"]
        if magnitude == "fixed":
            factor = factor * state.magnitude[i]["w"]
        copies.append(scale * np.sign(PARAMS[i]["w"]) * factor)
    expected, _ = backward(PARAMS, copies, *DATA)
    assert_close(learner(PARAMS, state, *DATA).grads, expected)
    exact, _ = backward(PARAMS, weights(PARAMS), *DATA)
    assert distance(expected[0], exact[0]) > 0.3


# ------------------------------------------------------------ partial concordance


def test_the_fraction_of_signs_agrees():
    params, data = layers(40, 50, 30), batch(2, 40, 30)
    learner = apical.value_and_grad(loss_fn, SignConcordance(concordance=0.75))
    state = jax.jit(learner.init)(KEY, params, *data)
    for agreement in weights(state.agreement):
        assert set(np.unique(agreement)) == {-1, 1}
        assert abs(np.mean(agreement == 1) - 0.75) < 0.04


def test_which_signs_agree_stays_while_the_weights_change_theirs():
    rule = SignConcordance(concordance=0.7)
    seen = training(rule)
    first = weights(seen[0][1].agreement)
    for params, state in seen:
        assert_same(weights(state.agreement), first)
        found = feedback_weights(rule, params, state)
        for copy, weight, agreement in zip(
            found, weights(params)[1:], first[1:], strict=True
        ):
            np.testing.assert_array_equal(np.sign(copy), np.sign(weight) * agreement)
    assert some_signs_turn(seen)


def test_no_concordance_is_every_sign_turned():
    turned, state = usual(SignConcordance(concordance=0.0))
    upright, other = usual(SignConcordance())
    against = turned(PARAMS, state, *DATA).grads
    along = upright(PARAMS, other, *DATA).grads
    assert_close(against[1], jax.tree.map(jnp.negative, along[1]))  # one weight above
    assert_close(against[0], along[0])  # two weights above


# ------------------------------------------------------------------ sparse feedback

SPARSE = SignConcordance(removed_backward=0.4)


def test_the_fraction_of_backward_connections_is_removed():
    params, data = layers(40, 50, 30), batch(2, 40, 30)
    rule = SignConcordance(concordance=0.75, removed_backward=0.3)
    learner = apical.value_and_grad(loss_fn, rule)
    state = jax.jit(learner.init)(KEY, params, *data)
    pairs = map(weights, (state.connections.backward, state.agreement))
    for there, agreement in zip(*pairs, strict=True):
        assert set(np.unique(there)) == {0, 1}
        assert abs(np.mean(there == 0) - 0.3) < 0.04
        assert abs(np.mean(agreement[there != 0] == 1) - 0.75) < 0.05


def test_removed_feedback_stays_removed_and_the_rest_has_the_signs_of_the_weights():
    seen = training(SPARSE)
    first = weights(seen[0][1].connections.backward)
    for params, state in seen:
        found = feedback_weights(SPARSE, params, state)
        rows = zip(found, weights(params)[1:], scales(), first[1:], strict=True)
        for copy, weight, scale, there in rows:
            expected = scale * np.sign(weight) * there
            np.testing.assert_allclose(copy, expected, atol=2e-3)
            assert 0 < np.mean(there == 0) < 1
    assert some_signs_turn(seen)


@pytest.mark.parametrize("magnitude", ["fixed", "batch"])
def test_sparse_feedback_and_random_magnitudes_combine(magnitude):
    rule = SignConcordance(magnitude, removed_backward=0.4)
    state = usual(rule)[1]
    found = feedback_weights(rule, PARAMS, state)
    for copy, there in zip(found, weights(state.connections.backward)[1:], strict=True):
        np.testing.assert_allclose(copy[there == 0], 0, atol=2e-3)
        assert np.std(np.abs(copy[there == 1])) > 0.02


def test_removing_nothing_draws_nothing_and_changes_no_other_draw():
    every, some = usual(SignConcordance("fixed"))[1], usual(SignConcordance())[1]
    assert every.agreement is None and some.agreement is None
    whole = usual(SignConcordance("fixed", concordance=0.7))[1]
    rule = SignConcordance("fixed", concordance=0.7, removed_backward=0.4)
    sparse = usual(rule)[1]
    assert_same(weights(sparse.magnitude), weights(whole.magnitude))
    assert_same(weights(sparse.agreement), weights(whole.agreement))
    assert whole.connections.backward is None


# -------------------------------------------------------------------- the refusals


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        (SignConcordance("fixed"), "A random magnitude"),
        (SignConcordance("batch"), "A random magnitude"),
        (SignConcordance(concordance=0.5), "Partial concordance"),
        (SignConcordance(removed_backward=0.5), "`removed_backward`"),
    ],
)
def test_options_by_entry_are_refused_for_a_composed_weight(rule, what):
    params = {"in": jnp.ones((5, 6)), "w": jnp.ones((6, 4))}
    params |= {"a": jnp.ones((6, 2)), "b": jnp.ones((2, 4))}
    learner = apical.value_and_grad(adapted_loss, rule)
    with pytest.raises(ValueError, match=rf"{what}.*computed from 'a \+ b \+ w'"):
        learner.init(KEY, params, jnp.ones((4, 5)), jnp.eye(4))


def test_unknown_values_and_fractions_out_of_range_are_refused():
    with pytest.raises(ValueError, match="`magnitude` must be one of"):
        SignConcordance("random")
    with pytest.raises(ValueError, match="`concordance` is a fraction"):
        SignConcordance(concordance=1.2)
    with pytest.raises(ValueError, match="`removed_backward` is a fraction"):
        SignConcordance(removed_backward=-0.1)


# ------------------------------------------- with batch normalisation, as in the paper


def normed_loss(params, x, y):
    for each in params[:-1]:
        h = x @ each["w"]
        h = (h - jnp.mean(h, axis=0)) / jnp.sqrt(jnp.var(h, axis=0) + 1e-3)
        x = jnp.tanh(h * each["gain"] + each["b"])
    return 0.5 * jnp.sum((x @ params[-1]["w"] - y) ** 2) / len(x)


def losses_with(concordance: float, steps: int = 60) -> list[float]:
    rule = SignConcordance(concordance=concordance)
    params = [
        {**each, "gain": jnp.ones_like(each["b"])} for each in layers(6, 16, 12, 3)
    ]
    x, _ = batch(40, 6, 3)
    data = x, jnp.sin(2 * x @ x[:6, :3])
    # The read-out alone would learn with any feedback: it is left as it was drawn.
    hidden = apical.optim.batch_manhattan(0.01, momentum=0.9)
    labels = [
        jax.tree.map(lambda _, i=i: "hidden" if i < 2 else "still", each)
        for i, each in enumerate(params)
    ]
    optimizer = optax.partition(
        {"hidden": hidden, "still": optax.set_to_zero()}, labels
    )
    trainer = apical.train_step(normed_loss, rule, optimizer)
    state, step = jax.jit(trainer.init)(KEY, params, *data), jax.jit(trainer)
    losses = []
    for _ in range(steps):
        params, state, credit = step(params, state, *data)
        losses.append(float(credit.value))
    return losses


def test_with_batch_norm_and_batch_manhattan_it_learns_and_reversed_signs_do_not():
    along, against = losses_with(1.0), losses_with(0.0)
    assert along[-1] < 0.5 * along[0]
    assert against[-1] > 0.9 * against[0]
