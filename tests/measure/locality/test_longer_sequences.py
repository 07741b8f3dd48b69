"""Memory at T and at 2T steps, from one call."""

import jax
import jax.numpy as jnp
import pytest
from support.locality import X, Y, learner_of, loss_fn, recurrent_weights, weights

import apical
from apical import rules

STEPS = jnp.sin(jnp.arange(12 * 4 * 5.0)).reshape(12, 4, 5)


def sequence_loss(params, x, y):
    def step(h, x):
        return jnp.tanh(x @ params["in"] + h @ params["back"]), None

    start = jnp.zeros((x.shape[1], params["back"].shape[0]))
    end, _ = jax.lax.scan(step, start, x)
    return jnp.mean(jnp.sum((end @ params["out"] - y) ** 2, axis=-1))


def at_both_lengths(rule):
    learner = apical.value_and_grad(sequence_loss, rule, batch_axes=(1, 0))
    params = recurrent_weights()
    args = STEPS[:6], Y
    state = learner.init(jax.random.key(0), params, *args)
    return apical.measure.locality(learner, params, state, *args, longer=(STEPS, Y))


def test_backpropagation_through_time_keeps_twice_as_much_of_twice_as_many_steps():
    found = at_both_lengths(rules.Backpropagation())
    first = {row.name: row for row in found.rows}["back"]
    assert first.longer_bytes == (2 * first.stored_bytes, first.carried_bytes)
    assert first.stored_bytes > 0
    assert found.measured["stored activities"]
    assert found.measured["backward through time"]


def test_two_vectors_are_all_that_is_kept_of_a_random_influence():
    found = at_both_lengths(rules.UORO())
    assert not any(row.stores_more for row in found.rows)
    assert not found.measured["stored activities"]
    assert not found.measured["backward through time"]


def test_a_longer_sequence_is_for_loops_alone():
    learner = learner_of(rules.Backpropagation(), loss_fn)
    with pytest.raises(ValueError, match="`longer` is for a network with a loop"):
        apical.measure.locality(learner, weights(5, 7, 3), (), X, Y, longer=(X, Y))


def test_a_longer_sequence_comes_with_all_arguments():
    learner = apical.value_and_grad(
        sequence_loss, rules.Backpropagation(), batch_axes=(1, 0)
    )
    with pytest.raises(ValueError, match="of which there are 2"):
        apical.measure.locality(
            learner, recurrent_weights(), (), STEPS[:6], Y, longer=(STEPS,)
        )
