"""Gains, statistics, biases, residual streams, attention and embeddings.

Every test here stands behind a statement of docs/rules-and-models.md. The feedback
rules are compared with the model written once more with a second weight by hand; a
control beside it does something else, and differs.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import assert_close, distance
from support.second_weight import (
    DATA,
    array,
    by_feedback,
    credit,
    differ,
    fed_back,
    plain,
    squared,
)

import apical
from apical.rules import Backpropagation, FeedbackAlignment, PredictiveCoding

FREE = PredictiveCoding(steps=8, rate=0.2, prediction="free")
RULES = [Backpropagation(), FeedbackAlignment(), PredictiveCoding(), FREE]
NAMES = ["backprop", "feedback", "fixed", "free"]
every_rule = pytest.mark.parametrize("rule", RULES, ids=NAMES)


# --------------------------------------------------------------------- normalisation


def normalised(x: jax.Array, still: Any = lambda moment: moment) -> jax.Array:
    mean, var = still(jnp.mean(x, axis=0)), still(jnp.var(x, axis=0))
    return (x - mean) * jax.lax.rsqrt(var + 1e-3)


def normed(dot: Any, scale: Any, still: Any = lambda moment: moment) -> Any:
    def loss_fn(params, x, y):
        h = jnp.tanh(scale(normalised(dot(x, "a", params), still), params))
        return squared(dot(jnp.tanh(dot(h, "b", params)), "c", params), y)

    return loss_fn


def times_gain(x: jax.Array, params: Any) -> jax.Array:
    return params["gain"] * x


def scaled(x: jax.Array, gain: jax.Array, back: Any) -> jax.Array:
    """Return gain * x, whose derivative by x goes through another gain."""
    still = jax.lax.stop_gradient
    return still(gain * x) + (x - still(x)) * back + still(x) * (gain - still(gain))


NORMED = {"a": array(5, 6), "gain": 1 + array(6), "b": array(6, 7), "c": array(7, 3)}


def test_a_signal_passes_back_through_the_gain_itself():
    found, copies = fed_back(normed(plain, times_gain), NORMED, *DATA)
    assert copies["gain"] is None
    dot = by_feedback(copies)
    assert_close(found, jax.grad(normed(dot, times_gain))(NORMED, *DATA))

    def times_one(x, params):
        return scaled(x, params["gain"], 1.0)

    other = jax.grad(normed(dot, times_one))(NORMED, *DATA)
    assert_close(found["gain"], other["gain"])
    assert differ(found["a"], other["a"])


@every_rule
def test_a_gain_takes_the_gradient_of_its_teaching_signal(rule):
    found, state = credit(normed(plain, times_gain), rule, NORMED, *DATA)
    signals = apical.value_and_grad(normed(plain, times_gain), rule).signals(
        NORMED, state, *DATA
    )
    (lower, upper), before = signals.values(), normalised(DATA[0] @ NORMED["a"])
    arriving = lower.teaching * (1 - lower.prediction**2)
    assert_close(found.grads["gain"], jnp.sum(arriving * before, axis=0))
    assert differ(found.grads["gain"], jnp.sum(arriving, axis=0))
    assert upper.teaching.shape == (4, 7)


def test_a_gain_can_be_given_a_copy():
    found, copies = fed_back(normed(plain, times_gain), NORMED, *DATA, gains="feedback")

    def times_copy(x, params):
        return scaled(x, params["gain"], copies["gain"])

    dot = by_feedback(copies)
    assert_close(found, jax.grad(normed(dot, times_copy))(NORMED, *DATA))
    assert differ(found["a"], jax.grad(normed(dot, times_gain))(NORMED, *DATA)["a"])


def test_the_derivative_through_the_statistics_of_a_batch_is_kept():
    found, copies = fed_back(normed(plain, times_gain), NORMED, *DATA)
    dot = by_feedback(copies)
    assert_close(found, jax.grad(normed(dot, times_gain))(NORMED, *DATA))
    still = normed(dot, times_gain, jax.lax.stop_gradient)
    assert differ(found["a"], jax.grad(still)(NORMED, *DATA)["a"])
    fixed, _ = credit(normed(plain, times_gain), PredictiveCoding(), NORMED, *DATA)
    assert_close(fixed.grads, jax.grad(normed(plain, times_gain))(NORMED, *DATA))
    still = normed(plain, times_gain, jax.lax.stop_gradient)
    for rule in (PredictiveCoding(), FREE):
        kept, stopped = (
            credit(loss_fn, rule, NORMED, *DATA)[0].grads["a"]
            for loss_fn in (normed(plain, times_gain), still)
        )
        assert differ(kept, stopped)


def with_statistics(params, running, x, y):
    h = jnp.tanh(x @ params["a"])
    drive = h @ params["b"]
    moved = 0.9 * running + 0.1 * jnp.mean(drive, axis=0)
    return squared(jnp.tanh(drive - moved) @ params["c"], y), moved


@every_rule
def test_running_statistics_are_those_of_the_forward_pass(rule):
    args, keywords = (array(7), *DATA), {"has_aux": True, "batch_axes": (None, 0, 0)}
    found, state = credit(with_statistics, rule, NORMED, *args, **keywords)
    assert_close(found.aux, with_statistics(NORMED, *args)[1])
    signals = apical.value_and_grad(with_statistics, rule, **keywords).signals(
        NORMED, state, *args
    )
    settled = {name: signal.value for name, signal in signals.items()}
    if rule is FREE:  # the values that it settled at would give other statistics
        circuit = apical.trace(with_statistics, **keywords)(NORMED, *args)
        held = circuit.run(NORMED, args, tap="clamp", inject=settled)
        assert distance(held.aux, found.aux) > 1e-3


# -------------------------------------------------------------------- biases, residues


def biased(params, x, y):
    for w, b in params[:-1]:
        x = jnp.tanh(x @ w + b)
    return squared(x @ params[-1], y)


BIASED = [(array(5, 6), array(6)), (array(6, 7), array(7)), array(7, 3)]


@every_rule
def test_a_bias_takes_the_sum_of_its_teaching_signal(rule):
    found, state = credit(biased, rule, BIASED, *DATA)
    signals = apical.value_and_grad(biased, rule).signals(BIASED, state, *DATA)
    for (_, grad), signal in zip(found.grads[:-1], signals.values(), strict=True):
        slope = 1 - signal.prediction**2
        assert_close(grad, jnp.sum(signal.teaching * slope, axis=0))
        assert differ(grad, jnp.sum(signal.teaching, axis=0))
    if isinstance(rule, FeedbackAlignment):
        assert [bias for _, bias in state.feedback[:-1]] == [None, None]


def residual(dot: Any) -> Any:
    def loss_fn(params, x, y):
        stream = dot(x, "embed", params)
        branch = dot(jnp.tanh(dot(stream, "up", params)), "down", params)
        return squared(dot(jnp.tanh(stream + branch), "out", params), y)

    return loss_fn


RESIDUAL = {"embed": array(5, 6), "up": array(6, 7), "down": array(7, 6)}
RESIDUAL |= {"out": array(6, 3)}


def test_a_skip_carries_the_signal_as_it_is():
    found, copies = fed_back(residual(plain), RESIDUAL, *DATA)
    assert_close(found, jax.grad(residual(by_feedback(copies)))(RESIDUAL, *DATA))
    closed = {**copies, "up": jnp.zeros((6, 7))}
    skipped = jax.grad(residual(by_feedback(closed)))(RESIDUAL, *DATA)
    assert float(jnp.linalg.norm(skipped["embed"])) > 0.01
    assert differ(found["embed"], skipped["embed"])


def test_a_residual_stream_is_a_node_that_hears_all_its_readers():
    loss_fn = residual(plain)
    circuit = apical.trace(loss_fn)(RESIDUAL, *DATA)
    assert [edge.to for edge in circuit.reach["embed"]] == ["up", "down"]
    found = apical.value_and_grad(loss_fn, PredictiveCoding()).signals(
        RESIDUAL, (), *DATA
    )
    errors = {name: signal.teaching for name, signal in found.items()}
    slopes = {name: 1 - found[name].prediction ** 2 for name in ("up", "down")}
    skip = errors["down"] * slopes["down"]
    branch = (errors["up"] * slopes["up"]) @ RESIDUAL["up"].T
    assert_close(errors["embed"], skip + branch)
    assert differ(errors["embed"], skip)
    assert differ(errors["embed"], branch)


# ---------------------------------------------------------------- attention, embeddings


def attention(dot: Any, still: Any = lambda scores: scores) -> Any:
    def loss_fn(params, x, y):
        h = jnp.tanh(dot(x, "in", params))
        q, k, v = (dot(h, name, params) for name in "qkv")
        weights = jax.nn.softmax(still(jnp.einsum("bqd,bkd->bqk", q, k)))
        mixed = jnp.einsum("bqk,bkd->bqd", weights, v)
        return squared(dot(jnp.tanh(mixed), "out", params), y)

    return loss_fn


ATTENTION = {"in": array(5, 6), **{n: 3 * array(6, 4, seed=ord(n)) for n in "qkv"}}
ATTENTION |= {"out": array(4, 3)}
SEQUENCES = array(2, 4, 5), array(2, 4, 3)


def test_attention_products_are_no_synapses_and_pass_signals_exactly():
    circuit = apical.trace(attention(plain))(ATTENTION, *SEQUENCES)
    assert {s.name for s in circuit.synapses} == {"in", "q", "k", "v", "out"}
    found, copies = fed_back(attention(plain), ATTENTION, *SEQUENCES)
    dot = by_feedback(copies)
    assert_close(found, jax.grad(attention(dot))(ATTENTION, *SEQUENCES))
    blind = jax.grad(attention(dot, jax.lax.stop_gradient))(ATTENTION, *SEQUENCES)
    assert differ(found["in"], blind["in"])
    assert not np.any(blind["q"])


@pytest.mark.filterwarnings("ignore:With .* no signal:UserWarning")
def test_attention_is_one_prediction():
    circuit = apical.trace(attention(plain))(ATTENTION, *SEQUENCES)
    assert [len(reached) for reached in circuit.reach.values()] == [1, 1]
    fixed, _ = credit(attention(plain), PredictiveCoding(), ATTENTION, *SEQUENCES)
    truth = jax.grad(attention(plain))(ATTENTION, *SEQUENCES)
    assert_close(fixed.grads, truth, atol=1e-5)
    early, _ = credit(attention(plain), PredictiveCoding(1), ATTENTION, *SEQUENCES)
    assert all(np.any(early.grads[name]) for name in "qkv")  # one step reaches them all
    assert not np.any(early.grads["in"])


def embedded(dot: Any) -> Any:
    def loss_fn(params, ids, y):
        h = jnp.tanh(params["table"][ids])
        return squared(dot(jnp.tanh(dot(h, "a", params)), "b", params), y)

    return loss_fn


IDS = jnp.array([2, 0, 2, 1])
EMBEDDED = {"table": array(4, 5), "a": array(5, 6), "b": array(6, 3)}


@every_rule
def test_a_looked_up_row_takes_the_signals_of_its_lookups(rule):
    loss_fn, args = embedded(plain), (IDS, DATA[1])
    found, state = credit(loss_fn, rule, EMBEDDED, *args)
    learner = apical.value_and_grad(loss_fn, rule)
    signal = learner.signals(EMBEDDED, state, *args)["table"]
    rows = signal.teaching * (1 - signal.prediction**2)
    expected = jnp.zeros((4, 5)).at[IDS].add(rows)
    assert_close(found.grads["table"], expected)
    assert not np.any(found.grads["table"][3])
    assert differ(found.grads["table"], jnp.zeros((4, 5)).at[IDS].set(rows))


def test_a_table_has_no_feedback_copy():
    found, copies = fed_back(embedded(plain), EMBEDDED, IDS, DATA[1])
    assert copies["table"] is None
    assert "table" in apical.trace(embedded(plain))(EMBEDDED, IDS, DATA[1]).unreached
    truth = jax.grad(embedded(plain))(EMBEDDED, IDS, DATA[1])
    assert differ(found["table"], truth["table"])
