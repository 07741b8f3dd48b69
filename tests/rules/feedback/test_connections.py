"""Sparse and noisy connections: the same mechanism for every rule that has them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import (
    assert_close,
    assert_same,
    batch,
    distance,
    layers,
    loss_fn,
    weights,
)

import apical
from apical import rules
from apical.rules import RandomFeedback

pytestmark = pytest.mark.grid(keep=5)

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(4, 5, 3)
TOLD = {"target": lambda x, y: y, "input_argnums": 0}
RULES = {
    "feedback alignment": rules.FeedbackAlignment(),
    "sign concordance": rules.SignConcordance(),
    "sign concordance, fixed": rules.SignConcordance("fixed", concordance=0.8),
    "kolen-pollack": rules.KolenPollack(0.1),
    "mirror": rules.WeightMirror(),
    "direct": rules.DirectFeedbackAlignment(),
    "direct, sign": rules.DirectFeedbackAlignment(error="sign"),
    "direct, target": rules.DirectRandomTargetProjection(),
    "pepita": rules.PEPITA(scale=1.0),
}
PARTS = {
    "predictive coding": lambda part: rules.PredictiveCoding(4, feedback=part),
    "free predictions": lambda part: rules.PredictiveCoding(
        30, 0.3, prediction="free", feedback=part
    ),
    "activation relaxation": lambda part: rules.ActivationRelaxation(feedback=part),
}
EVERY = [*RULES, *PARTS]
# Feedback changes the activities, so it affects the readout too.
MOVED = {"pepita", "free predictions"}


def made(name, **said):
    """The rule with these connections; a part has those of the backward path alone."""
    if name in PARTS:
        return PARTS[name](RandomFeedback(**said))
    return replace(RULES[name], **said)


def started(rule, params=PARAMS, loss=loss_fn, key=KEY):
    step = apical.train_step(loss, rule, optax.sgd(0.1), **TOLD)
    return step.learner, step.init(key, params, *DATA).rule


def connections(state):
    state = getattr(state, "feedback", state) if hasattr(state, "precision") else state
    return state.connections


def credit(rule, state=None, params=PARAMS, loss=loss_fn):
    learner, fresh = started(rule, params, loss)
    return learner.credit(params, fresh if state is None else state, *DATA)


# ---------------------------------------------------------------------------- removed


@pytest.mark.parametrize("name", EVERY)
def test_without_feedback_only_the_readout_learns(name):
    found = credit(made(name, removed_backward=1.0)).grads
    whole = credit(made(name)).grads
    if name not in MOVED:
        assert_close(found[-1], whole[-1], rtol=1e-3)
    for layer, before in zip(found[:-1], whole[:-1], strict=True):
        # Rounding alone is left of errors that are 0.
        assert np.abs(layer["w"]).max() <= 1e-6 * np.abs(before["w"]).max()
        assert np.any(before["w"])


@pytest.mark.parametrize("name", EVERY)
def test_each_part_that_is_removed_makes_another_update(name):
    updates = [
        credit(made(name, removed_backward=part)).grads[0]["w"]
        for part in (0, 0.3, 0.6)
    ]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert distance(updates[one], updates[other]) > 0.01


@pytest.mark.parametrize("name", EVERY)
def test_saying_nothing_draws_nothing(name):
    assert jax.tree.leaves(connections(started(made(name))[1])) == []


@pytest.mark.parametrize("name", EVERY)
def test_the_fraction_of_feedback_weights_is_removed(name):
    params, data = layers(40, 50, 30, 20), batch(2, 40, 20)
    rule = made(name, removed_backward=0.3)
    step = apical.train_step(loss_fn, rule, optax.sgd(0.1), **TOLD)
    masks = connections(step.init(KEY, params, *data).rule).backward
    flat = np.concatenate([np.ravel(m) for m in jax.tree.leaves(masks)])
    assert set(np.unique(flat)) == {0, 1}
    assert abs(np.mean(flat == 0) - 0.3) < 0.05


@pytest.mark.parametrize("name", RULES)
def test_removed_forward_weights_act_as_zero_and_take_no_gradient(name):
    rule = made(name, removed_forward=0.4)
    learner, state = started(rule)
    masks = weights(state.connections.forward)

    def changed(make):
        pairs = zip(PARAMS, masks, strict=True)
        return [{**p, "w": make(p["w"], m)} for p, m in pairs]

    zeroed = changed(lambda w, m: w * m)
    wild = changed(lambda w, m: w * m + 99 * (1 - m))
    found = learner.credit(PARAMS, state, *DATA)
    assert_close(found.value, loss_fn(zeroed, *DATA))
    assert distance(found.value, loss_fn(PARAMS, *DATA)) > 0.01
    for grad, mask in zip(weights(found.grads), masks, strict=True):
        assert not np.any(np.asarray(grad)[np.asarray(mask) == 0])
    assert_close(learner.credit(wild, state, *DATA).grads, found.grads)
    predicted = [learner.predict(p, state, *DATA) for p in (PARAMS, wild, zeroed)]
    assert_close(predicted[0], predicted[2])
    assert_close(predicted[1], predicted[2])
    signals = [learner.signals(p, state, *DATA) for p in (PARAMS, wild)]
    assert_close(signals[0], signals[1])


@pytest.mark.parametrize("name", RULES)
def test_removed_forward_weights_stay_as_they_are_through_training(name):
    rule = made(name, removed_forward=0.4, removed_backward=0.3)
    step = apical.train_step(loss_fn, rule, optax.sgd(0.05, momentum=0.9), **TOLD)
    state = step.init(KEY, PARAMS, *DATA)
    first, params, call = state.rule.connections, PARAMS, jax.jit(step)
    for _ in range(5):
        params, state, _ = call(params, state, *DATA)
    assert_same(state.rule.connections, first)
    rows = zip(*map(weights, (params, PARAMS, first.forward)), strict=True)
    for now, before, mask in rows:
        stayed = np.asarray(now) == np.asarray(before)
        assert np.all(stayed[np.asarray(mask) == 0])
        assert np.mean(stayed[np.asarray(mask) == 1]) < 0.3  # no signal reaches some


def test_kolen_pollack_lets_what_differs_decay_where_both_connections_exist():
    rule = made("kolen-pollack", removed_forward=0.4, removed_backward=0.3)
    step = apical.train_step(loss_fn, rule, optax.sgd(0.05), **TOLD)
    before = step.init(KEY, PARAMS, *DATA)
    params, after, _ = step(PARAMS, before, *DATA)
    for i in (1, 2):
        both = [m[i]["w"] for m in before.rule.connections[:2]]
        there = np.asarray(both[0] * both[1])
        first = PARAMS[i]["w"] - before.rule.feedback[i]["w"]
        now = params[i]["w"] - after.rule.feedback[i]["w"]
        assert_close(now * there, 0.9 * first * there)


@pytest.mark.parametrize("name", ["feedback alignment", "kolen-pollack", "mirror"])
def test_masks_of_ones_own_are_put_into_the_state(name):
    learner, state = started(made(name))
    draw = np.random.default_rng(0)
    masks = [
        {"w": jnp.asarray(draw.integers(0, 2, p["w"].shape), float), "b": None}
        for p in PARAMS
    ]
    mine = state._replace(connections=state.connections._replace(backward=masks))
    zeroed = [
        {"w": None if b["w"] is None else b["w"] * m["w"], "b": None}
        for b, m in zip(state.feedback, masks, strict=True)
    ]
    found = learner.credit(PARAMS, mine, *DATA)
    expected = learner.credit(PARAMS, state._replace(feedback=zeroed), *DATA)
    assert_close(found.grads, expected.grads)
    assert distance(found.grads[0], learner.credit(PARAMS, state, *DATA).grads[0]) > 0.1
    half = [*masks[:2], {"w": None, "b": None}]  # all of the last exist
    part = state._replace(connections=state.connections._replace(backward=half))
    assert distance(learner.credit(PARAMS, part, *DATA).grads[0], found.grads[0]) > 0.01


# ------------------------------------------------------------------------------ noise


@pytest.mark.parametrize("name", EVERY)
def test_noise_is_another_at_every_call_and_the_same_in_one(name):
    rule = made(name, backward_noise=0.5)
    learner, state = started(rule)
    one = learner.credit(PARAMS, state, *DATA)
    again = learner.credit(PARAMS, state, *DATA)
    assert_same(again.grads, one.grads)
    still = one.state
    if name in RULES:  # what the rule learns beside stays the same
        still = state._replace(connections=one.state.connections)
    two = learner.credit(PARAMS, still, *DATA)
    assert distance(two.grads[0], one.grads[0]) > 0.01
    if name not in MOVED:
        assert_close(one.grads[-1], credit(made(name)).grads[-1], rtol=1e-3)


@pytest.mark.parametrize("name", ["feedback alignment", "direct", "sign concordance"])
def test_on_average_noise_changes_nothing_and_it_has_the_size_that_is_said(name):
    """Two layers: the update is linear in the one feedback weight."""
    params = layers(5, 7, 3)
    for noise in (0.25, 0.5):
        rule = made(name, backward_noise=noise)
        learner, state = started(rule, params)
        quiet, _ = started(made(name), params)

        def update(key, learner=learner, state=state):
            drawn = state._replace(connections=state.connections._replace(key=key))
            return learner.credit(params, drawn, *DATA).grads[0]["w"]

        found = jax.jit(jax.vmap(update))(jax.random.split(KEY, 2000))
        bare = state._replace(connections=state.connections._replace(key=None))
        mean = quiet(params, bare, *DATA).grads[0]["w"]
        assert distance(found.mean(axis=0), mean) < 0.1
        spread = float(jnp.linalg.norm(found.std(axis=0)) / jnp.linalg.norm(mean))
        assert 0.3 * noise < spread < 3 * noise


def test_kolen_pollack_does_not_gather_the_noise():
    quiet, noisy = (
        apical.train_step(
            loss_fn, made("kolen-pollack", backward_noise=noise), optax.sgd(0.0), **TOLD
        )
        for noise in (0.0, 0.5)
    )
    state = noisy.init(KEY, PARAMS, *DATA)
    _, after, _ = noisy(PARAMS, state, *DATA)
    assert_same(after.rule.feedback, state.rule.feedback)
    assert_same(state.rule.feedback, quiet.init(KEY, PARAMS, *DATA).rule.feedback)


# --------------------------------------------------------------------------- in common


@pytest.mark.parametrize("name", RULES)
def test_numbers_may_be_traced(name):
    def update(part):
        rule = made(
            name, removed_forward=part, removed_backward=part, backward_noise=part
        )
        learner, state = started(rule)
        return learner.credit(PARAMS, state, *DATA).grads[0]["w"]

    parts = jnp.array([0.2, 0.5])
    together = jax.jit(jax.vmap(update))(parts)
    for one, part in zip(together, parts, strict=True):
        assert_close(one, update(float(part)), rtol=1e-3)


SAID = {"removed_forward": 0.5, "removed_backward": 0.5, "backward_noise": 0.1}


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("name", RULES)
def test_a_state_that_knows_nothing_of_it_is_refused(name, said):
    _, state = started(made(name))
    learner, _ = started(made(name, **{said: SAID[said]}))
    with pytest.raises(ValueError, match=rf"`state` was made without `{said}`"):
        learner.credit(PARAMS, state, *DATA)


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("name", EVERY)
def test_numbers_that_mean_nothing_are_named(name, said):
    if name in PARTS and said == "removed_forward":
        pytest.skip("a part of the backward path")
    with pytest.raises(ValueError, match=f"`{said}`"):
        made(name, **{said: -0.1})


def composed(params, x, y):
    h = jnp.tanh(x @ params["in"])
    return jnp.mean((h @ (params["w"] + params["a"] @ params["b"]) - y) ** 2)


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize(
    "name", ["feedback alignment", "sign concordance", "kolen-pollack"]
)
def test_options_by_entry_are_refused_for_a_composed_weight(name, said):
    params = {"in": jnp.ones((5, 6)), "w": jnp.ones((6, 3))}
    params |= {"a": jnp.ones((6, 1)), "b": jnp.ones((1, 3))}
    with pytest.raises(ValueError, match=rf"`{said}`.*computed from 'a \+ b \+ w'"):
        started(made(name, **{said: 0.5}), params, composed)
