"""Teaching signals beside backpropagation's, node by node, against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import batch, layers

import apical
from apical import rules

KEY = jax.random.key(0)
PARAMS = dict(zip("abc", layers(5, 7, 6, 3), strict=True))
DATA = batch(4, 5, 3)


def loss_fn(params, x, y):
    h = jnp.tanh(x @ params["a"]["w"] + params["a"]["b"])
    h = jnp.tanh(h @ params["b"]["w"] + params["b"]["b"])
    return jnp.mean((h @ params["c"]["w"] + params["c"]["b"] - y) ** 2)


def measured(rule, **description):
    learner = apical.value_and_grad(loss_fn, rule, **description)
    state = learner.init(KEY, PARAMS, *DATA)
    found = apical.measure.signal_alignment(learner)(PARAMS, state, *DATA)
    return learner, state, found


def test_backpropagation_by_another_route_agrees_in_every_example():
    _, _, found = measured(rules.PredictiveCoding(inference=rules.Sweep()))
    for each in found.values():
        np.testing.assert_allclose(each.agreement.cosine, 1, rtol=1e-5)
        np.testing.assert_allclose(each.agreement.norm_ratio, 1, rtol=1e-5)
        np.testing.assert_allclose(each.by_example, np.ones(4), rtol=1e-5)


def test_the_signals_of_feedback_alignment_by_hand():
    _, state, found = measured(rules.FeedbackAlignment())
    x, y = (np.asarray(each, float) for each in DATA)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, float), PARAMS)
    h = np.tanh(x @ p["a"]["w"] + p["a"]["b"])
    g = np.tanh(h @ p["b"]["w"] + p["b"]["b"])
    error = 2 * (g @ p["c"]["w"] + p["c"]["b"] - y) / y.size

    def signals(of_b, of_c):
        upper = error @ of_c.T
        return (upper * (1 - g**2)) @ of_b.T, upper

    true = signals(p["b"]["w"], p["c"]["w"])
    sent = signals(*(np.asarray(state.feedback[n]["w"], float) for n in "bc"))
    assert len(found) == 2
    for each, ours, theirs in zip(found.values(), sent, true, strict=True):
        norms = [np.linalg.norm(s, axis=1) for s in (ours, theirs)]
        rows = np.sum(ours * theirs, axis=1) / norms[0] / norms[1]
        np.testing.assert_allclose(each.by_example, rows, atol=1e-5)
        whole = np.sum(ours * theirs) / np.linalg.norm(ours) / np.linalg.norm(theirs)
        np.testing.assert_allclose(each.agreement.cosine, whole, atol=1e-5)


def test_removed_connections_are_removed_from_the_reference_too():
    rule = rules.FeedbackAlignment(removed_forward=0.5)
    learner, state, found = measured(rule)
    here = rule.trained_params(learner.circuit(PARAMS, *DATA), PARAMS, state)
    removed = [np.sum(np.asarray(here[n]["w"]) == 0) for n in "abc"]
    assert min(removed) > 0
    ours = learner.signals(PARAMS, state, *DATA)
    exact = learner.with_rule(rules.Backpropagation())
    for name, each in found.items():
        theirs = exact.signals(here, (), *DATA)[name].teaching
        cosine = jnp.vdot(ours[name].teaching, theirs) / (
            jnp.linalg.norm(ours[name].teaching) * jnp.linalg.norm(theirs)
        )
        np.testing.assert_allclose(each.agreement.cosine, cosine, atol=1e-5)


def test_a_silent_example_has_no_cosine():
    x, y = DATA
    learner = apical.value_and_grad(loss_fn, rules.FeedbackAlignment())
    state = learner.init(KEY, PARAMS, x, y)
    out = learner.predict(PARAMS, state, x, y)
    y = y.at[1].set(out[1])
    found = apical.measure.signal_alignment(learner)(PARAMS, state, x, y)
    for each in found.values():
        assert np.isnan(each.by_example).tolist() == [False, True, False, False]


def test_a_network_that_settles_is_refused():
    rule = rules.EquilibriumPropagation()
    learner = apical.value_and_grad(loss_fn, rule, target=lambda x, y: y)
    with pytest.raises(ValueError, match=r"EquilibriumPropagation.*alignment"):
        apical.measure.signal_alignment(learner)
