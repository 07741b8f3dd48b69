"""Measures take a learner: results and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import batch, layers, loss_fn

import apical
from apical import rules
from apical.measure import alignment, cost, regime

KEY = jax.random.key(0)
PARAMS, (X, Y) = layers(5, 7, 6, 3), batch(4, 5, 3)
MEASURES = {"alignment": alignment, "cost": cost, "regime": regime}


def columns(params, x, y):
    """The examples are columns of `x`, rows of `y`; there is aux."""
    return loss_fn(params, x.T, y), jnp.mean(x)


DESCRIPTION = {"has_aux": True, "batch_axes": (1, 0)}
DATA = X.T, Y


def gradients(rule, state=()):
    """Without a learner: the rule on a circuit traced with the same description."""
    circuit = apical.trace(columns, **DESCRIPTION)(PARAMS, *DATA)
    return jax.jit(lambda *args: rule.credit(circuit, PARAMS, state, args).grads)(*DATA)


def test_alignment_is_that_of_the_described_loss():
    rule = rules.FeedbackAlignment()
    learner = apical.value_and_grad(columns, rule, **DESCRIPTION)
    state = learner.init(KEY, PARAMS, *DATA)
    found = alignment(learner)(PARAMS, state, *DATA)

    circuit = apical.trace(columns, **DESCRIPTION)(PARAMS, *DATA)

    @jax.jit
    def by_hand(params, state, *args):
        grads = rule.credit(circuit, params, state, args).grads
        exact = jax.grad(lambda p: columns(p, *args)[0])(params)
        ours, theirs = grads[0]["w"], exact[0]["w"]
        cosine = jnp.vdot(ours, theirs)
        return (
            cosine / jnp.sqrt(jnp.vdot(ours, ours)) / jnp.sqrt(jnp.vdot(theirs, theirs))
        )

    np.testing.assert_allclose(
        found.leaves["0.w"].cosine, by_hand(PARAMS, state, *DATA), rtol=1e-5
    )
    assert found.leaves["0.w"].cosine < 0.99
    # To the last bit, the numbers of the same loss with its examples in rows.
    plain = apical.value_and_grad(loss_fn, rule)
    rows = alignment(plain)(PARAMS, state, X, Y)
    np.testing.assert_array_equal(found.overall, rows.overall)


def test_the_gradients_of_a_learner_are_those_of_the_rule_on_the_described_circuit():
    rule = rules.PredictiveCoding(3, 0.5, prediction="free")
    learner = apical.value_and_grad(columns, rule, **DESCRIPTION)
    found = jax.jit(lambda *args: learner(PARAMS, (), *args).grads)(*DATA)
    jax.tree.map(np.testing.assert_array_equal, found, gradients(rule))


def test_cost_is_that_of_the_described_loss():
    rule = rules.PredictiveCoding(3, prediction="free")
    learner = apical.value_and_grad(columns, rule, **DESCRIPTION)
    found = cost(learner, repeats=1)(PARAMS, (), *DATA)
    rows = cost(apical.value_and_grad(loss_fn, rule), repeats=1)(PARAMS, (), X, Y)
    for ours, theirs in zip(found[:2], rows[:2], strict=True):
        assert (ours.flops, ours.depth) == (theirs.flops, theirs.depth)


def test_regime_is_that_of_the_described_loss():
    """With another axis of examples the rates, and so the residual, are others."""
    rule = rules.PredictiveCoding(3, 0.5, prediction="free")
    learner = apical.value_and_grad(columns, rule, **DESCRIPTION)
    found = regime(learner)(PARAMS, (), *DATA)
    rows = regime(apical.value_and_grad(loss_fn, rule))(PARAMS, (), X, Y)
    assert found == rows
    summed = apical.value_and_grad(columns, rule, **DESCRIPTION, reduction="sum")
    assert regime(summed)(PARAMS, (), *DATA) != found


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((loss_fn, rules.FeedbackAlignment()), "not a function"),
        ((loss_fn,), "not a function"),
        ((rules.FeedbackAlignment(),), "not a rule"),
        ((rules.FeedbackAlignment,), "not a rule"),
        ((PARAMS,), "not a list"),
        ((), "not a NoneType"),
    ],
    ids=["loss and rule", "loss", "rule", "class", "params", "nothing"],
)
def test_what_is_not_a_learner_is_refused_with_what_to_do(name, arguments, words):
    says = rf"`apical.measure.{name}` takes a learner, {words}. .*`learner = apical"
    with pytest.raises(TypeError, match=says):
        MEASURES[name](*arguments)


@pytest.mark.parametrize("name", MEASURES)
def test_a_training_step_is_refused_with_its_learner(name):
    step = apical.train_step(loss_fn, rules.FeedbackAlignment(), optax.sgd(0.1))
    with pytest.raises(TypeError, match=r"not a training step: pass `step.learner`"):
        MEASURES[name](step)


@pytest.mark.parametrize("name", MEASURES)
def test_a_training_state_is_refused_with_its_part(name):
    rule = rules.PredictiveCoding(3, prediction="free")
    step = apical.train_step(loss_fn, rule, optax.sgd(0.1))
    state = step.init(KEY, PARAMS, X, Y)
    with pytest.raises(ValueError, match=r"is a TrainState.* pass `state\.rule`"):
        MEASURES[name](step.learner)(PARAMS, state, X, Y)


@pytest.mark.parametrize("name", MEASURES)
def test_the_description_cannot_be_given_to_a_measure(name):
    learner = apical.value_and_grad(columns, rules.PredictiveCoding(), **DESCRIPTION)
    with pytest.raises(TypeError, match="batch_axes"):
        MEASURES[name](learner, batch_axes=(1, 0))
    assert not hasattr(apical, "signals")
