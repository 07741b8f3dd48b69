"""The claim about errors as changes of activity: the statistic and its judge."""

import numpy as np
import pytest
from support.claim_lines import run
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.feedback import rate_derivative as claim
from apical.claims.feedback._activity_changes import partial_correlations
from apical.lab._registry import BASELINE, CONTROL

# ---- The verdict


def lines(partial=0.9, shuffled=0.0, learned=0.965, control=0.9, seeds=5, second=None):
    found = []
    at = {BASELINE: 0.966, CONTROL: control, claim.GENEREC: 0.9}
    for rule, accuracy in (at | {claim.EQUILIBRIUM: learned}).items():
        how = {"part": claim.LEARNING, "data": "made up", "seeds": seeds}
        found += run(rule, accuracy, **how)
    for rule in claim.CHANGING:
        for layer, of_layer in zip(claim.LAYERS, (partial, second), strict=True):
            for seed in range(seeds):
                noise = 0.01 * (seed % 3 - 1)
                measured = {
                    "partial": (partial if of_layer is None else of_layer) + noise,
                    **{"shuffled": shuffled + noise, "plain": 0.8 + noise},
                    "activity": 0.2 + noise,
                }
                found += [
                    {"part": claim.MEASURE, "rule": rule, "layer": layer}
                    | {"seed": seed, "epoch": epoch, "epochs": 8, "data": "made up"}
                    | measured
                    for epoch in (0, 8)
                ]
    return found


CASES = {
    "holds": [lines()],
    "holds within limits": [lines(learned=0.9), lines(control=0.97)],
    "does not hold": [
        lines(partial=0.3),
        lines(second=0.3),
        lines(shuffled=0.4),
        lines(partial=0.3, learned=0.9),
    ],
    "not settled": [lines(second=0.5), lines(seeds=4), []],
}


@pytest.mark.parametrize("word", CASES)
def test_each_verdict_follows_from_lines_that_must_give_it(word):
    found = [claim.judge(each) for each in CASES[word]]
    assert [verdict.word for verdict in found] == [word] * len(found), [
        verdict.because for verdict in found
    ]


def test_the_correlations_are_told():
    told = claim.CLAIM.published[0].measured
    assert "generec: 0.90, 0.90 (hidden layers 1, 2)" in told(lines())
    assert told([]) == "not run at this scale"


def test_lines_are_drawn():
    assert_drawn(claim, lines())


# ---- The statistic


def test_what_both_owe_to_activity_is_no_correlation():
    rng = np.random.default_rng(0)
    s, error, noise = rng.normal(size=(3, 4000, 2))
    shared = np.stack([5 * s[:, 0], 5 * s[:, 1] + error[:, 1]], 1)
    found = partial_correlations(shared + 0.1 * noise, error + 3 * s, s)
    plain = partial_correlations(shared + 0.1 * noise, error + 3 * s, 0 * s)
    assert found[0] == pytest.approx(0, abs=0.05) and plain[0] > 0.9
    assert found[1] > 0.9


def test_it_is_the_partial_correlation_of_the_textbook():
    a, b, c = np.random.default_rng(1).normal(size=(3, 50, 1))
    a, b = a + c, b - c + a
    r = np.corrcoef([a[:, 0], b[:, 0], c[:, 0]])
    expected = (r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt(
        (1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2)
    )
    assert partial_correlations(a, b, c)[0] == pytest.approx(expected)


def test_a_unit_that_does_not_change_has_none():
    a = np.random.default_rng(2).normal(size=(9, 1))
    assert np.isnan(partial_correlations(0 * a, a, a**2)[0])


@pytest.mark.slow
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    changes = [line for line in outcome.lines if line["part"] == claim.MEASURE]
    assert {line["layer"] for line in changes} == {1, 2}
    # With feedback this weak the change is backprop's gradient, nearly.
    assert all(line["partial"] > 0.8 for line in changes if line["epoch"] == 0)
