"""Optimisers that use the loss, and those that evaluate it themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, batch, distance, layers, loss_fn

import apical
from apical import rules

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 3), batch(4, 5, 3)
POLYAK = optax.polyak_sgd(0.5)
RULES = {
    "backpropagation": rules.Backpropagation(),
    "feedback alignment": rules.FeedbackAlignment(),
    "kolen-pollack": rules.KolenPollack(),
    "incremental": rules.IncrementalPredictiveCoding(steps=2),
}


def plateau():
    return optax.chain(
        optax.sgd(0.1),
        optax.contrib.reduce_on_plateau(factor=0.5, patience=1, cooldown=0),
    )


TOLD = {
    "polyak": POLYAK,
    "in a chain": optax.chain(optax.clip_by_global_norm(9.0), POLYAK),
    "plateau": plateau(),
    "injected": optax.inject_hyperparams(optax.polyak_sgd)(max_learning_rate=0.5),
    "accumulated": optax.MultiSteps(POLYAK, 1),
    "in parts": optax.partition({True: POLYAK}, jax.tree.map(lambda p: True, PARAMS)),
}


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("told", TOLD)
def test_an_optimiser_that_is_told_the_loss_can_train(name, told):
    step = apical.train_step(loss_fn, RULES[name], TOLD[told])
    state = step.init(KEY, PARAMS, *DATA)
    params, state, credit = jax.jit(step)(PARAMS, state, *DATA)
    assert distance(params[1]["w"], PARAMS[1]["w"]) > 1e-3
    assert np.isfinite(credit.value)


@pytest.mark.parametrize("told", ["polyak", "accumulated"])
def test_what_it_is_told_is_the_loss(told):
    """Polyak's step: the loss over the squared norm of the gradient."""
    step = apical.train_step(loss_fn, rules.Backpropagation(), TOLD[told])
    state = step.init(KEY, PARAMS, *DATA)
    params, _, _ = step(PARAMS, state, *DATA)
    grads = jax.grad(loss_fn)(PARAMS, *DATA)
    norm = sum(jnp.sum(g**2) for g in jax.tree.leaves(grads))
    size = min(0.5, loss_fn(PARAMS, *DATA) / norm)
    assert_close(params, jax.tree.map(lambda p, g: p - size * g, PARAMS, grads))


def test_a_loss_that_stays_halves_the_rate():
    step = apical.train_step(
        lambda p, x, y: loss_fn(p, x, y), RULES["backpropagation"], plateau()
    )
    state = step.init(KEY, PARAMS, *DATA)
    still = jax.tree.map(jnp.copy, PARAMS)
    for _ in range(6):
        _, state, _ = step(still, state, *DATA)
    assert state.optimizer[1].scale <= 0.25


def test_an_optimiser_that_takes_one_of_two_is_told_that_one():
    seen = []

    def update(updates, state, params=None, *, value):
        seen.append(value)
        return updates, state

    mine = optax.GradientTransformationExtraArgs(lambda params: (), update)
    step = apical.train_step(loss_fn, rules.Backpropagation(), mine)
    step(PARAMS, step.init(KEY, PARAMS, *DATA), *DATA)
    assert_close(seen[-1], loss_fn(PARAMS, *DATA))


ASKS = {
    "lbfgs": optax.lbfgs(0.1),
    "line search": optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5)
    ),
    "hessian": optax.contrib.sophia(0.1),
    "opaque sam": optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1), opaque_mode=True),
}


@pytest.mark.parametrize("name", ASKS)
def test_one_that_evaluates_the_loss_function_is_refused_in_init(name):
    for rule in RULES.values():
        step = apical.train_step(loss_fn, rule, ASKS[name])
        with pytest.raises(ValueError, match=r"`optimizer` cannot take a step.*lbfgs"):
            jax.eval_shape(step.init, KEY, PARAMS, *DATA)


def test_lbfgs_without_its_line_search_is_taken():
    optimizer = optax.chain(optax.lbfgs(0.1, linesearch=None))
    step = apical.train_step(loss_fn, rules.Backpropagation(), optimizer)
    params, _, _ = step(PARAMS, step.init(KEY, PARAMS, *DATA), *DATA)
    assert distance(params, PARAMS) > 1e-3


WITHIN = {
    "targets": rules.TargetPropagation(optimizer=POLYAK),
    "critics": rules.SyntheticGradients(optimizer=POLYAK),
    "read-outs": rules.LocalLosses(optimizer=POLYAK),
    "feedback": rules.PredictiveCoding(feedback=rules.RandomFeedback(POLYAK)),
}


@pytest.mark.parametrize("name", WITHIN)
def test_one_for_other_weights_that_is_told_no_loss_is_refused_in_init(name):
    learner = apical.value_and_grad(loss_fn, WITHIN[name], target=lambda x, y: y)
    with pytest.raises(ValueError, match="`optimizer` cannot take a step here"):
        learner.init(KEY, PARAMS, *DATA)
