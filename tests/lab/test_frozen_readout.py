"""A frozen readout, and the signals that pass through it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import array

import apical
from apical import rules
from apical.lab._control_rules import FrozenReadout


def two_layers(params, x, y):
    h = jnp.tanh(x @ params["hidden"])
    return 0.5 * jnp.sum((h @ params["readout"] - y) ** 2) / len(x)


def still_problem():
    draw = np.random.default_rng(0)
    params = {"hidden": array(draw, 5, 7), "readout": array(draw, 7, 3)}
    return params, (array(draw, 9, 5), array(draw, 9, 3))


def test_a_frozen_readout_stays_and_passes_the_signal_through_the_feedback_weights():
    params, (x, y) = still_problem()
    rule = FrozenReadout(rules.FeedbackAlignment())
    learner = apical.value_and_grad(two_layers, rule)
    state = learner.init(jax.random.key(0), params, x, y)
    grads = learner(params, state, x, y).grads
    h = jnp.tanh(x @ params["hidden"])
    error = (h @ params["readout"] - y) / len(x)

    def by_hand(back):
        return x.T @ ((error @ back.T) * (1 - h**2))

    feedback = state.learning.feedback["readout"]
    np.testing.assert_allclose(grads["hidden"], by_hand(feedback), rtol=1e-5, atol=1e-6)
    assert jnp.max(jnp.abs(grads["hidden"] - by_hand(params["readout"]))) > 0.1
    np.testing.assert_array_equal(grads["readout"], 0)
    (hidden,) = (
        apical.value_and_grad(two_layers, rule).signals(params, state, x, y).values()
    )
    np.testing.assert_allclose(hidden.teaching, error @ feedback.T, rtol=1e-5)


def test_no_decay_moves_a_frozen_readout_while_the_hidden_layer_learns():
    params, data = still_problem()
    optimizer = apical.optim.batch_manhattan(0.02, weight_decay=0.1)
    losses = {}
    for rule in (FrozenReadout(rules.SignConcordance()), rules.SignConcordance()):
        step = apical.train_step(two_layers, rule, optimizer)
        now, state = params, step.init(jax.random.key(0), params, *data)
        for _ in range(8):
            now, state, credit = step(now, state, *data)
        losses[type(rule)] = float(credit.value)
        stays = bool((now["readout"] == params["readout"]).all())
        assert stays == isinstance(rule, FrozenReadout)
        assert (now["hidden"] != params["hidden"]).all()
    assert losses[FrozenReadout] < float(two_layers(params, *data))


def test_alignment_of_a_frozen_readout_is_that_of_the_hidden_layer():
    params, data = still_problem()
    rule = FrozenReadout(rules.FeedbackAlignment())
    learner = apical.value_and_grad(two_layers, rule)
    state = learner.init(jax.random.key(0), params, *data)
    found = apical.measure.alignment(learner)(params, state, *data)
    inside = learner.with_rule(rule.learning)
    whole = apical.measure.alignment(inside)(params, state.learning, *data)
    hidden = next(v for k, v in whole.leaves.items() if "hidden" in k)
    np.testing.assert_allclose(found.overall.cosine, hidden.cosine, rtol=1e-5)
    assert abs(float(whole.overall.cosine - hidden.cosine)) > 1e-3


def test_a_rule_that_moves_feedback_and_weights_together_cannot_be_frozen():
    with pytest.raises(ValueError, match="`learning` is KolenPollack"):
        FrozenReadout(rules.KolenPollack())
