"""Claims about plasticity: their smallest runs, their networks, and their judges."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apical
from apical.claims import run_claim
from apical.claims.spiking import reward_traces, stdp_digits
from apical.claims.spiking._rewarded_units import (
    LEAK,
    REWARDED_STDP,
    SCORE_FUNCTION,
    SLOPE,
    initial_weights,
    loss_of,
)
from apical.claims.spiking._winner_take_all import (
    Parts,
    loss_fn,
    normalised,
    spike_probabilities,
    trained,
)
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.data._load import load
from apical.lab.report.figures._style import figure_style, render
from apical.rules import PresynapticTrace, Reward, ThreeFactor

CLAIMS = {m.CLAIM.id: m.CLAIM for m in (stdp_digits, reward_traces)}
SEEDS = range(5)


@pytest.mark.slow
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_the_smallest_form_runs_settles_nothing_and_is_drawn(claim, tmp_path):
    outcome = run_claim(claim, "smoke", tmp_path)
    assert {line["task"] for line in outcome.lines} == {
        task.name for task in claim.tasks("smoke")
    }
    assert outcome.verdict.word == "not settled" and outcome.verdict.because
    with figure_style():
        assert render(claim.draw(outcome.lines)).png.startswith(b"\x89PNG")


# ------------------------------------------------------------ the judges


def lines_of(claim, **accuracy):
    """Records of five seeds: the accuracies after the last of two epochs."""
    return [
        {
            **{"data": "mnist", "rule": rule, "seed": s, "epoch": e, "epochs": 10},
            **{"status": "ok", "learning_rate": 0.1, "optimizer": "sgd"},
            **{"test_accuracy": value + 0.001 * s * (1 + len(rule) % 3)},
        }
        for rule, value in accuracy.items()
        for s in SEEDS
        for e in (8, 10)
    ]


@pytest.mark.parametrize(
    ("stdp", "backprop", "random", "word"),
    [
        (0.93, 0.93, 0.5, "holds"),
        (0.80, 0.93, 0.5, "holds within limits"),
        (0.40, 0.93, 0.5, "does not hold"),
    ],
)
def test_stdp_is_judged_against_random_weights_and_backprop(
    stdp, backprop, random, word
):
    found = {"stdp": stdp, BASELINE: backprop, CONTROL: random}
    assert stdp_digits.judge(lines_of(stdp_digits, **found)).word == word


@pytest.mark.parametrize(
    ("both", "causal", "score", "word"),
    [
        (0.3, 0.4, 0.7, "holds"),
        (0.7, 0.4, 0.7, "does not hold"),
        (0.3, 0.4, 0.1, "does not hold"),
    ],
)
def test_traces_are_judged_against_the_score_function(both, causal, score, word):
    names = reward_traces.BOTH, reward_traces.CAUSAL, reward_traces.SCORE, CONTROL
    found = dict(zip(names, (both, causal, score, 0.1), strict=True))
    assert reward_traces.judge(lines_of(reward_traces, **found)).word == word


# ------------------------------------------------------------ the networks


@cache
def digits():
    return spike_probabilities(load("digits", None, False))[0]


def test_every_picture_has_the_same_mean():
    x = digits().x
    assert x.min() >= 0 and x.max() <= 1
    assert np.allclose(x.mean(axis=1), 0.1, atol=1e-3)


def test_at_most_one_unit_spikes_in_a_step():
    weights = normalised(jax.random.uniform(jax.random.key(0), (64, 10)))
    assert np.allclose(weights.sum(axis=0), 6.4, rtol=1e-5)
    x = (jax.random.uniform(jax.random.key(1), (12, 4, 64)) < 0.1).astype(float)
    _, counts = loss_fn(weights, jnp.full(10, 1.0), x, jnp.zeros(4, int))
    assert counts.sum(axis=1).min() > 0 and counts.sum(axis=1).max() <= 12
    _, silent = loss_fn(weights, jnp.full(10, 1e6), x, jnp.zeros(4, int))
    assert not np.any(silent)


def test_the_winner_learns_the_picture_and_the_others_do_not():
    weights = jnp.zeros((64, 2)).at[:, 0].set(0.2)
    x = jnp.zeros((6, 1, 64)).at[:, :, :20].set(1.0)
    rule = stdp_digits.RECIPES["stdp"].rule
    learner = apical.value_and_grad(
        loss_fn, rule, has_aux=True, batch_axes=(None, 1, 0)
    )
    given = weights, jnp.ones(2), x, jnp.zeros(1, int)
    state = learner.init(jax.random.key(0), *given)
    credit = learner(weights, state, *given[1:])
    assert np.all(credit.grads[:20, 0] < 0) and np.all(credit.grads[20:, 0] > 0)
    assert not np.any(credit.grads[:, 1]) and float(credit.aux[0, 0]) > 0


def test_the_control_keeps_its_weights():
    few = Parts(digits().x[:64], digits().y[:64])
    run = trained(stdp_digits.RECIPES[CONTROL], few, 10, 6, 1)
    first, last = run(0, 1.0)
    assert np.allclose(first.weights, last.weights, rtol=1e-5)
    assert not np.allclose(first.theta, last.theta)


STEPS, EXAMPLES, UNITS = 7, 40, 20


def rewarded(surprise, weights, rule):
    key = jax.random.split(jax.random.key(3), 2)
    noise = jax.random.uniform(key[0], (STEPS, EXAMPLES, UNITS))
    x = (jax.random.uniform(key[1], (STEPS, EXAMPLES, 64)) < 0.1).astype(float)
    y = jnp.arange(EXAMPLES) % 10
    learner = apical.value_and_grad(
        loss_of(surprise), rule, has_aux=True, batch_axes=(1, 1, 0)
    )
    state = learner.init(jax.random.key(0), weights, noise, x, y)
    return learner(weights, state, noise, x, y), noise, x


WEIGHTS = initial_weights(jax.random.key(5), 64, UNITS)


def likelihood(weights, noise, x, worth):
    """Sum of log P of the spikes, each example times its worth."""
    v, total = 0.0, 0.0
    for t in range(STEPS):
        v = LEAK * v + x[t] @ weights
        p = jax.nn.sigmoid(SLOPE * (v - 1))
        z = jax.lax.stop_gradient((p > noise[t]).astype(float))
        log = z * jnp.log(p) + (1 - z) * jnp.log1p(-p)
        total = total + jnp.sum(log, axis=1)
    return jnp.mean(worth * total)


def test_the_trace_of_surprises_is_the_score_function():
    reward = Reward("reward", baseline_rate=0.0)
    rule = ThreeFactor(SCORE_FUNCTION.pairing, reward, SCORE_FUNCTION.rule.tau)
    credit, noise, x = rewarded(True, WEIGHTS, rule)
    worth = credit.aux["reward"]
    assert 0 < float(jnp.sum(worth)) < EXAMPLES
    slope = jax.grad(likelihood)(WEIGHTS, noise, x, worth) / SLOPE
    assert np.allclose(credit.grads, -slope, rtol=1e-4, atol=1e-6)


def test_the_trace_of_spikes_is_another():
    """The control: STDP, and the trace of surprises with another time constant."""
    credit, noise, x = rewarded(False, WEIGHTS, REWARDED_STDP.rule)
    slope = jax.grad(likelihood)(WEIGHTS, noise, x, credit.aux["reward"]) / SLOPE
    assert not np.allclose(credit.grads, -slope, rtol=0.1, atol=1e-3)
    reward = Reward("reward", baseline_rate=0.0)
    rule = ThreeFactor(PresynapticTrace(1.0, 2.0), reward, SCORE_FUNCTION.rule.tau)
    credit, _, _ = rewarded(True, WEIGHTS, rule)
    assert not np.allclose(credit.grads, -slope, rtol=0.1, atol=1e-3)


def test_units_spike_at_first_in_some_steps():
    credit, noise, _ = rewarded(False, WEIGHTS, REWARDED_STDP.rule)
    assert 0.1 < float(credit.info.unit_rates[0]) < 0.6 and noise.shape[0] == STEPS
