"""Dreams: the Hopfield network, the Boltzmann machine, the judge, and the runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims._fairness import refuse_if_unfair
from apical.claims.unsupervised import _boltzmann_machine as boltzmann
from apical.claims.unsupervised import _hopfield as hopfield
from apical.claims.unsupervised import dreaming as claim
from apical.claims.unsupervised._helmholtz_machine import bars
from apical.claims.unsupervised._training import run_lines
from apical.lab._registry import BASELINE

LOADS = (0.1, 0.2, 0.4, 0.6)


def lines(capacity=None, false=None, scores=None, seeds=6, noise=0.01):
    """Lines in which overlaps fall from 1 to 0.9 beyond a capacity."""
    capacity = {claim.SETTLED: 0.4, claim.RANDOM: 0.1, claim.AWAKE: 0.1} | (
        capacity or {}
    )
    false = {claim.SETTLED: 0.1, claim.AWAKE: 0.8, claim.RANDOM: 0.8} | (false or {})
    scores = {claim.ONE: -0.5, claim.TEN: -0.1, claim.AWAKE: -4.0, BASELINE: 0.0} | (
        scores or {}
    )
    found = []
    for seed in range(seeds):
        jitter = noise * (seed % 3 - 1)
        for kind, most in capacity.items():
            off = jitter if kind == claim.SETTLED else 0.0
            for load in LOADS:
                found.append(
                    {"part": claim.HOPFIELD, "kind": kind, "load": load, "seed": seed}
                    | {"overlap": 1.0 if load <= most else 0.9 + off}
                    | {"false": false[kind] + off, "nights": 10, "at_end": False}
                )
        for rule, score in scores.items():
            said = {"part": claim.BARS, "rule": rule, "learning_rate": 0.01}
            course = {"score": [score + jitter * len(rule) / 4] * 2}
            found += run_lines(course, said, seed)
    return found


CASES = {
    "holds": [lines(), lines(false={claim.SETTLED: 0.5})],
    "holds within limits": [
        lines(false={claim.SETTLED: 0.8}),
        lines(scores={claim.AWAKE: -0.5}),
    ],
    "does not hold": [
        lines(capacity={claim.RANDOM: 0.4}),
        lines(capacity={claim.SETTLED: 0.05}),
    ],
    "not settled": [
        lines(seeds=4),
        lines(capacity={claim.SETTLED: 0.1}, noise=0.3),
        [],
    ],
}


@pytest.mark.parametrize("word", CASES)
def test_each_verdict_follows_from_lines_that_must_give_it(word):
    found = [claim.judge(each) for each in CASES[word]]
    assert [verdict.word for verdict in found] == [word] * len(found), [
        verdict.because for verdict in found
    ]


def test_a_capacity_is_where_the_overlap_falls_below_the_least():
    def capacity(*overlaps):
        here = [
            {"part": claim.HOPFIELD, "kind": "a", "seed": 0, "load": x, "overlap": y}
            for x, y in zip(LOADS, overlaps, strict=False)
        ]
        return claim.capacities(here, "a")[0]

    assert capacity(1.0, 1.0, 0.9, 1.0) == pytest.approx(0.3)
    assert capacity(1.0, 1.0, 1.0, 0.96) == 0.6
    assert capacity(0.9, 1.0, 1.0, 1.0) == 0.0
    assert capacity(1.0, float("nan")) == pytest.approx(0.1)


def test_only_dreams_must_not_win_at_an_end():
    def refused(at_an_end):
        drawn = [
            {"part": claim.BARS, "rule": rule, "trial": i, "learning_rate": 10.0**i}
            | {"numbers": "{}", "chosen": i == (0 if rule == at_an_end else 1)}
            for rule in claim.SWEEPS
            for i in range(3)
        ]
        verdict = claim.judge(lines())
        return refuse_if_unfair(claim.CLAIM, verdict, lines(), drawn).refused

    assert refused(claim.AWAKE) == ()
    assert any("the one with the smallest step size" in w for w in refused(claim.ONE))


def test_lines_are_drawn():
    assert_drawn(claim, lines())


@pytest.mark.slow
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert {line["part"] for line in outcome.lines} == {claim.HOPFIELD, claim.BARS}


# ------------------------------------------------------------------- the networks


def test_a_pattern_is_settled_and_a_settled_state_has_no_unit_against_its_drive():
    patterns = hopfield.random_states(jax.random.key(0), 2, 40)
    weights = hopfield.hebb(patterns)
    np.testing.assert_allclose(np.diag(weights), 0)
    np.testing.assert_allclose(
        weights[0, 1], np.mean(patterns[:, 0] * patterns[:, 1]) * 2 / 40, rtol=1e-5
    )
    flipped = patterns.at[:, 0].multiply(-1)
    np.testing.assert_array_equal(
        hopfield.settle(weights, flipped, jax.random.key(1)), patterns
    )
    start = hopfield.random_states(jax.random.key(2), 3, 40)
    ends = hopfield.settle(weights, start, jax.random.key(3))
    assert np.all(ends * (ends @ weights) >= 0)
    assert not np.all(start * (start @ weights) >= 0)


def test_nights_begin_with_hebb_and_take_dreams_away():
    key, numbers = jax.random.key(4), (12, 40, 4, 2)
    dreams = hopfield.nights_of(key, *numbers, hopfield.SETTLED)
    controls = hopfield.nights_of(key, *numbers, hopfield.RANDOM)
    assert dreams.overlap.shape == dreams.false.shape == (3,)
    assert float(dreams.overlap[0]) == float(controls.overlap[0]) < 0.95
    assert not np.allclose(dreams.overlap[1:], controls.overlap[1:])
    assert np.all((dreams.false >= 0) & (dreams.false <= 1))


def test_the_likelihood_of_the_boltzmann_machine_is_a_sum_over_all_states():
    params = jax.tree.map(lambda p: 5 * p, boltzmann.machine(jax.random.key(0)))
    params["hidden"] = params["hidden"] + 0.3
    x, probability = bars()
    w, c = np.asarray(params["w"], float), np.asarray(params["hidden"], float)
    every = np.array(np.meshgrid(*[[0, 1]] * 9)).reshape(9, -1).T
    states = np.array(np.meshgrid(*[[0, 1]] * 8)).reshape(8, -1).T
    weight = np.exp(every @ w @ states.T + states @ c)  # e^(-energy)
    p = dict(zip(map(tuple, every), weight.sum(axis=1) / weight.sum(), strict=True))
    logs = [np.log(q / p[tuple(v)]) for v, q in zip(x, probability, strict=True)]
    found = boltzmann.divergence(params, x, probability)
    assert float(found) == pytest.approx(probability @ logs, rel=1e-4)


def test_the_contrastive_gradient_is_the_difference_of_two_means():
    """By hand, with one sweep; and the first phase alone lacks the second."""
    params = jax.tree.map(lambda p: 5 * p, boltzmann.machine(jax.random.key(0)))
    data = (jnp.asarray(bars()[0]), jnp.asarray(bars()[1]))
    v, uniform = boltzmann.drawn(jax.random.key(1), data, 20, 1)
    chance = jax.nn.sigmoid(v @ params["w"])
    h = (uniform[:, 0, :8] < chance).astype(float)
    dream = (uniform[:, 0, 8:] < jax.nn.sigmoid(h @ params["w"].T)).astype(float)
    second = dream.T @ jax.nn.sigmoid(dream @ params["w"])
    found = jax.grad(boltzmann.contrastive_loss)(params, v, uniform)["w"]
    np.testing.assert_allclose(found, (second - v.T @ chance) / 20, atol=1e-5)
    alone = jax.grad(boltzmann.positive_loss)(params, v, uniform)["w"]
    np.testing.assert_allclose(alone, -v.T @ chance / 20, atol=1e-5)
