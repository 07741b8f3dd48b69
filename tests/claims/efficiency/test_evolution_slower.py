"""Races of evolution and backprop to an accuracy, and the claim about them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.efficiency import evolution_slower as claim
from apical.claims.efficiency._races import BACKPROP, EVOLUTION, Lanes, Race
from apical.lab.data._dataset import Data


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = np.arange(90, dtype=np.int32) % 3
    x = np.float32(2 * rng.normal(size=(3, 6))[y] + rng.normal(size=(90, 6)))
    return Data("blobs", "vectors", x[:60], y[:60], x[60:], y[60:], 3)


@pytest.mark.parametrize("rule", [BACKPROP, EVOLUTION])
def test_a_race_ends_when_all_lanes_or_the_first_are_there(data, rule):
    race = Race(data, rule, 4, 2)
    assert race.parameters == 4 * (6 + 3)
    keys = jax.vmap(jax.random.key)(jnp.asarray([5, 5]))
    lanes = Lanes(keys, jnp.asarray([0.3, 0.0]), jnp.asarray([0.1, 0.1]))
    found = race(lanes, 200)
    assert found.updates[0] < 100 and found.updates[0] % 2 == 0
    assert found.updates[1] == np.inf and found.accuracy[1] < 85  # at rate 0
    first = race(lanes, 200, first=True)
    assert first.updates[0] == found.updates[0] and first.accuracy[0] >= 85
    assert np.all(race(lanes, 0).updates == np.inf)


def test_trials_are_as_many_for_each_rule():
    for number in (2, 5, 16):
        for rule in (BACKPROP, EVOLUTION):
            found = claim.trials_of(rule, number)
            assert len(found) == len(set(found)) == number
    assert {noise for _, noise in claim.trials_of(EVOLUTION, 16)} == {0.03, 0.1}


# ---- The verdict


def lines(power=1.0, factor=0.1, seeds=8, end=False, lost=()):
    """Lines in which evolution needs `factor * N**power` times the evaluations."""
    return [
        {
            **{"rule": rule, "data": "digits", "hidden": hidden, "seed": seed},
            **{"parameters": 74 * hidden, "at_an_end": end, "accuracy": 81.0},
            "evaluations": None
            if (rule, hidden, seed) in lost
            else 100
            * (1 + 0.01 * seed)
            * (factor * (74 * hidden) ** power if rule == EVOLUTION else 1),
        }
        for rule in (BACKPROP, EVOLUTION)
        for hidden in claim.SIZES["full"].hidden
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (lines(), "holds"),
        (lines(power=0.1, factor=10.0), "holds within limits"),
        (lines(power=0.0, factor=1.0), "does not hold"),
        (lines(seeds=4), "not settled"),
        (lines(end=True), "not settled"),
        (lines(lost=[(EVOLUTION, 64, 3)]), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_the_evaluations_and_their_slope(found, word):
    assert claim.judge(found).word == word


def test_the_slopes_are_those_of_the_powers():
    assert claim.slopes(lines(power=0.7), EVOLUTION)[0] == pytest.approx(0.7)
    assert claim.slopes(lines(power=0.7), BACKPROP)[0] == pytest.approx(0, abs=1e-9)
    told = claim.CLAIM.published[0].measured(lines(power=0.7))
    assert "evolution strategy ~ N^0.70" in told


def test_a_run_that_did_not_get_there_is_said():
    (told,) = claim.judge(lines(lost=[(EVOLUTION, 64, 3)])).refused
    assert "evolution strategy did not reach 85 %" in told and "(units: 64)" in told


def test_lines_are_drawn():
    assert_drawn(claim, lines())


@pytest.mark.sweep
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert {each["rule"] for each in outcome.lines} == {BACKPROP, EVOLUTION}
    assert {each["parameters"] for each in outcome.lines} == {2 * 74}
