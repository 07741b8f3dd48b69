"""Zero divergence and incremental coding: weights change during inference."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, distance, loss_fn
from support.predictive_coding_by_hand import DATA, KEY, PARAMS, ByHand, credit_of, free
from support.zoo import MODELS, backpropagation, learned

import apical
from apical.rules import IncrementalPredictiveCoding, ZeroDivergence

ZERO = free(inference=ZeroDivergence())

# ------------------------------------------------------------------- zero divergence

GRAPHS = ("mlp_residual", "conv_residual", "rnn", "attention", "dictionary_batch")


@pytest.mark.grid(keep=5)
@pytest.mark.parametrize("name", GRAPHS)
def test_weights_that_move_at_their_own_step_move_as_by_backpropagation(name):
    model = MODELS[name]
    loss_fn, params, args = model.make(KEY)
    keywords = {"has_aux": model.has_aux, "batch_axes": model.batch_axes}

    @jax.jit
    def grads(params):
        rules = ZERO, free(3, 0.5)
        learners = [apical.value_and_grad(loss_fn, r, **keywords) for r in rules]
        return [learned(each(params, (), *args).grads)[0] for each in learners]

    found, relaxed = grads(params)
    _, expected = backpropagation(loss_fn, params, *args, has_aux=model.has_aux)
    scale = max(np.max(np.abs(leaf)) for leaf in expected.values())
    assert_close(found, expected, rtol=1e-5, atol=1e-5 * scale)
    assert max(distance(relaxed[path], expected[path]) for path in expected) > 1e-3


def test_on_a_chain_a_step_of_levels_is_a_step_of_all_values():
    hand = ByHand()
    values = hand.start()
    errors = []
    for layer in (1, 0):
        values = hand.step(values, 1.0)
        # What a node's parameters learn from in the step in which it first moves.
        errors.append(hand.errors(values)[0][layer])
    found = apical.value_and_grad(loss_fn, ZERO).signals(PARAMS, (), *DATA)
    for error, name in zip(errors, ("1", "0"), strict=True):
        teaching = -4 * np.asarray(found[name].teaching)
        np.testing.assert_allclose(teaching, error, rtol=1e-4, atol=1e-6)
    # By the second step the upper error is another.
    assert distance(hand.errors(values)[0][1], errors[0]) > 0.05


# ----------------------------------------------------------------------- incremental


def incremental_by_hand(steps, rate, optimizer, momentum=0.0):
    params, memory = PARAMS, optimizer.init(PARAMS)
    values = ByHand().start()
    pace = [np.zeros_like(value) for value in values]
    for _ in range(steps):
        hand = ByHand()
        hand.w = [np.asarray(each["w"]) for each in params]
        hand.b = [np.asarray(each["b"]) for each in params]
        hand.copies = hand.w
        grads = hand.grads(values)
        slopes = zip(pace, hand.slope(values), strict=True)
        pace = [momentum * old + slope for old, slope in slopes]
        values = [v - rate * p for v, p in zip(values, pace, strict=True)]
        updates, memory = optimizer.update(grads, memory, params)
        params = optax.apply_updates(params, updates)
    return params, values


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optax.adam(0.01)])
def test_steps_equal_steps_by_hand(optimizer):
    rule = IncrementalPredictiveCoding(5, 0.2)
    step = apical.train_step(loss_fn, rule, optimizer)
    state = step.init(KEY, PARAMS, *DATA)
    found, _, credit = jax.jit(step)(PARAMS, state, *DATA)
    expected, _ = incremental_by_hand(5, 0.2, optimizer)
    assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert distance(found, incremental_by_hand(1, 0.2, optimizer)[0]) > 1e-3
    np.testing.assert_allclose(credit.value, loss_fn(PARAMS, *DATA), rtol=1e-6)
    assert 0 < credit.info.residual < 1


@pytest.mark.parametrize("streaming", [False, True])
def test_values_with_momentum_equal_those_by_hand_and_start_anew(streaming):
    """Without streaming each call begins at rest; a stream keeps its momentum."""
    inference, optimizer = optax.sgd(0.2, momentum=0.6), optax.sgd(0.1)
    rule = IncrementalPredictiveCoding(3, streaming=streaming, inference=inference)
    step = apical.train_step(loss_fn, rule, optimizer)
    params, state = PARAMS, step.init(KEY, PARAMS, *DATA)
    run = jax.jit(step)
    params, state, _ = run(params, state, *DATA)
    expected, _ = incremental_by_hand(3, 0.2, optimizer, momentum=0.6)
    assert_close(params, expected, rtol=1e-4, atol=1e-5)
    assert distance(params, incremental_by_hand(3, 0.2, optimizer)[0]) > 1e-4
    if streaming:
        params, state, _ = run(params, state, *DATA)
        expected, values = incremental_by_hand(6, 0.2, optimizer, momentum=0.6)
        assert_close(params, expected, rtol=1e-4, atol=1e-5)
        assert_close(list(state.rule.values.values()), values, rtol=1e-4, atol=1e-5)
        state = step.reset(PARAMS, state, *DATA)
    again, _, _ = run(PARAMS, state, *DATA)
    assert_close(again, incremental_by_hand(3, 0.2, optimizer, momentum=0.6)[0])


def test_signals_follow_the_values_with_momentum():
    inference = optax.sgd(0.2, momentum=0.6)
    rule = IncrementalPredictiveCoding(4, inference=inference)
    found = apical.value_and_grad(loss_fn, rule).signals(PARAMS, (), *DATA)
    expected = apical.value_and_grad(loss_fn, free(4, inference=inference)).signals(
        PARAMS, (), *DATA
    )
    assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_parameters_that_do_not_move_leave_ordinary_predictive_coding():
    rule = IncrementalPredictiveCoding(6, 0.2)
    step = apical.train_step(loss_fn, rule, optax.sgd(0.0))
    state = step.init(KEY, PARAMS, *DATA)
    _, _, credit = step(PARAMS, state, *DATA)
    # The gradients of a step are those at the values before it.
    assert_close(credit.grads, credit_of(free(5, 0.2)).grads, rtol=1e-4, atol=1e-6)
    learner = apical.rules.IncrementalPredictiveCoding(6, 0.2)
    found = apical.value_and_grad(loss_fn, learner).signals(PARAMS, (), *DATA)
    expected = apical.value_and_grad(loss_fn, free(6, 0.2)).signals(PARAMS, (), *DATA)
    assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_stream_goes_on_where_it_was_and_reset_begins_anew():
    rule = IncrementalPredictiveCoding(1, 0.2, streaming=True)
    optimizer = optax.sgd(0.1)
    step = apical.train_step(loss_fn, rule, optimizer)
    params, state = PARAMS, step.init(KEY, PARAMS, *DATA)
    for _ in range(5):
        params, state, _ = step(params, state, *DATA)
    expected, values = incremental_by_hand(5, 0.2, optimizer)
    assert_close(params, expected, rtol=1e-4, atol=1e-5)
    assert_close(list(state.rule.values.values()), values, rtol=1e-4, atol=1e-5)
    again = step.reset(PARAMS, state, *DATA)
    assert_close(list(again.rule.values.values()), ByHand().start(), rtol=1e-5)


def test_a_stream_learns_an_environment_that_changes_at_every_step():
    draw = np.random.default_rng(0)
    teacher = jnp.asarray(draw.normal(size=(5, 3)), jnp.float32)
    rule = IncrementalPredictiveCoding(1, 0.3, streaming=True)
    step = apical.train_step(loss_fn, rule, optax.sgd(0.02))
    params, state = PARAMS, step.init(KEY, PARAMS, *DATA)
    run = jax.jit(step)
    losses = []
    for t in range(600):
        angle = 0.01 * t
        x = jnp.cos(angle) * DATA[0] + jnp.sin(angle) * DATA[0][::-1]
        params, state, credit = run(params, state, x, x @ teacher)
        losses.append(float(credit.value))
    assert np.mean(losses[-100:]) < 0.1 * np.mean(losses[:20])


@pytest.mark.filterwarnings("ignore:With .* no signal:UserWarning")
def test_gradients_alone_are_the_mean_of_the_steps():
    rule = IncrementalPredictiveCoding(3, 0.2)
    step = apical.train_step(loss_fn, rule, optax.sgd(0.0))
    circuit = step.learner.circuit(PARAMS, *DATA)
    credit = rule.credit(circuit, PARAMS, (), DATA)
    steps = [credit_of(free(k, 0.2)).grads for k in (1, 2)]
    hand = ByHand()
    steps.append(hand.grads(hand.start()))
    expected = jax.tree.map(lambda *g: sum(g) / 3, *steps)
    assert_close(credit.grads, expected, rtol=1e-4, atol=1e-6)


# -------------------------------------------------------------------------- refusals


def test_it_needs_a_training_step():
    with pytest.raises(ValueError, match=r"Use\s+`apical.train_step"):
        apical.value_and_grad(loss_fn, IncrementalPredictiveCoding())(PARAMS, (), *DATA)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IncrementalPredictiveCoding(0), "`steps` must be a whole number"),
        (lambda: IncrementalPredictiveCoding(rate=-1.0), "`rate` must be"),
        (lambda: IncrementalPredictiveCoding(inference=0.1), "`inference` must be an"),
        (lambda: free(inference=ZeroDivergence(), precision=2.0), "leave `precision`"),
        (lambda: free(inference=ZeroDivergence(), tolerance=0.1), "leave `tolerance`"),
    ],
)
def test_what_means_nothing_is_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
