"""Losses without a derivative, for rules that only evaluate losses."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import distance

import apical
from apical import rules
from apical.rules import EvolutionStrategy, ScoreFunction, WeightPerturbation

KEY = jax.random.key(0)
DRAW = np.random.default_rng(0)
W = {"w": jnp.asarray(DRAW.normal(size=(5, 3)), float)}
X = jnp.asarray(DRAW.normal(size=(6, 5)), float)
Y = jnp.asarray(np.arange(6) % 3)
TIE = 0.1 * jnp.arange(3)  # the last of those that fire wins


def wrong(output, y):
    return jnp.mean(jnp.argmax(output, axis=-1) != y) * 1.0


def zero_one(params, x, y):
    return wrong(x @ params["w"], y)


def rewarded(params, x, y):
    return wrong(apical.bernoulli(jax.nn.sigmoid(x @ params["w"]), "s") + TIE, y)


def grads_of(rule, loss_fn):
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(KEY, W, X, Y)
    return jax.jit(learner)(W, state, X, Y).grads


def expected(params, y):
    """The expected share of wrong answers: the sum over the 8 states of an example."""
    p = jax.nn.sigmoid(X @ params["w"])
    states = jnp.array(list(itertools.product((0.0, 1.0), repeat=3)))
    chance = jnp.prod(jnp.where(states[:, None] > 0, p, 1 - p), axis=-1)
    return jnp.mean(jnp.sum(chance * (jnp.argmax(states + TIE, -1)[:, None] != y), 0))


def test_the_score_function_is_unbiased_for_a_reward_without_a_derivative():
    truth, other = (jax.grad(expected)(W, y) for y in (Y, (Y + 1) % 3))
    found = grads_of(ScoreFunction(draws=20000), rewarded)
    assert distance(found, truth) < 0.05
    assert distance(found, other) > 0.5


@pytest.mark.parametrize("kind", [WeightPerturbation, EvolutionStrategy])
def test_parameters_are_perturbed_for_a_loss_without_a_derivative(kind):
    """The slope of the mean of the cloud, by another estimator of it."""
    found = grads_of(kind(0.5, pairs=4000), zero_one)
    again = grads_of(kind(0.5, pairs=3999), zero_one)
    assert distance(found, again) < 0.3
    moved = {"w": W["w"] - found["w"] / jnp.linalg.norm(found["w"])}
    assert zero_one(moved, X, Y) < zero_one(W, X, Y)


def test_an_evolution_strategy_needs_no_data():
    learner = apical.value_and_grad(lambda p: jnp.sum(p**2), EvolutionStrategy(0.1, 99))
    params = jnp.array([1.0, -2.0])
    found = learner(params, learner.init(KEY, params)).grads
    assert jnp.vdot(found, params) > 0


def test_a_rule_that_sends_signals_refuses():
    for loss_fn in (zero_one, rewarded):
        with pytest.raises(ValueError, match=r"through a derivative\. .*ScoreFunction"):
            grads_of(rules.FeedbackAlignment(), loss_fn)
