"""A loss is described once: learners, training steps, and other rules."""

import jax
import optax
import pytest
from support.by_hand import assert_close, assert_same, batch, layers, loss_fn

import apical
from apical import rules

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(4, 5, 3)
FREE = rules.PredictiveCoding(4, 0.2, prediction="free")


METHODS = ("__call__", "credit", "reset", "predict", "signals")


@pytest.mark.parametrize("method", METHODS)
def test_a_learner_takes_the_rules_part_of_a_training_state(method):
    step = apical.train_step(loss_fn, rules.FeedbackAlignment(), optax.sgd(0.1))
    state = step.init(KEY, PARAMS, *DATA)
    call = getattr(step.learner, method)
    call(PARAMS, state.rule, *DATA)
    with pytest.raises(ValueError, match=r"is a TrainState.* pass `state\.rule`"):
        call(PARAMS, state, *DATA)


def test_a_step_of_a_learner_is_the_step_of_what_made_the_learner():
    rule, description = rules.KolenPollack(), {"batch_axes": (1, 0)}

    def columns(params, x, y):
        return loss_fn(params, x.T, y)

    data = DATA[0].T, DATA[1]
    learner = apical.value_and_grad(columns, rule, **description)
    steps = (
        apical.train_step(learner, optax.sgd(0.1)),
        apical.train_step(learner, optimizer=optax.sgd(0.1)),
        apical.train_step(columns, rule, optax.sgd(0.1), **description),
    )
    states = [step.init(KEY, PARAMS, *data) for step in steps]
    first, *others = (s(PARAMS, t, *data) for s, t in zip(steps, states, strict=True))
    for other in others:
        assert_same(first, other)
    assert steps[0].learner is learner


def test_nothing_is_said_twice_to_a_step():
    learner = apical.value_and_grad(loss_fn, FREE)
    for call in (
        lambda: apical.train_step(learner, FREE, optax.sgd(0.1)),
        lambda: apical.train_step(learner, optax.sgd(0.1), batch_axes=0),
    ):
        with pytest.raises(TypeError, match=r"call `apical.train_step\(learner, optim"):
            call()
    with pytest.raises(TypeError, match=r"`learner.with_rule\(rule\)`"):
        apical.value_and_grad(learner, FREE)
    for call in (
        lambda: apical.train_step(learner),
        lambda: apical.train_step(loss_fn, FREE),
    ):
        with pytest.raises(TypeError, match="`optimizer` must be an optax transformat"):
            call()


def test_another_rule_has_the_same_description():
    def columns(params, x, y):
        return loss_fn(params, x.T, y), x

    data = DATA[0].T, DATA[1]
    learner = apical.value_and_grad(columns, FREE, has_aux=True, batch_axes=(1, 0))
    other = learner.with_rule(rules.FeedbackAlignment())
    assert isinstance(other.rule, rules.FeedbackAlignment)
    assert other.description == learner.description
    assert other.circuit(PARAMS, *data).batch_size == DATA[0].shape[0]
    # Each rule works on its own nodes, unless the description says which.
    assert (
        learner.with_rule(rules.ContrastiveHebbian()).circuit(PARAMS, *data).spec.nodes
        == rules.ContrastiveHebbian.nodes
        != FREE.nodes
    )


def test_the_circuit_of_a_learner_takes_arguments_as_init_does_or_their_shapes():
    learner = apical.value_and_grad(loss_fn, FREE)
    shapes = jax.eval_shape(lambda *tree: tree, PARAMS, *DATA)
    for given in ((PARAMS, *DATA), shapes):
        names = [n.name for n in learner.circuit(*given).nodes]
        assert names == [n.name for n in apical.trace(loss_fn)(PARAMS, *DATA).nodes]


def test_a_coupled_rule_is_measured_by_its_learner_and_trained_by_its_step():
    learner = apical.value_and_grad(loss_fn, rules.KolenPollack())
    state = learner.init(KEY, PARAMS, *DATA)
    with pytest.raises(ValueError, match=r"Use `apical.train_step\(learner, optimizer"):
        learner(PARAMS, state, *DATA)
    step = apical.train_step(learner, optax.sgd(0.1))
    *_, credit = step(PARAMS, step.init(KEY, PARAMS, *DATA), *DATA)
    assert_close(learner.credit(PARAMS, state, *DATA).grads, credit.grads)
