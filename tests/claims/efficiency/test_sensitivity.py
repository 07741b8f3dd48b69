"""The claim about slightly wrong hyper-parameters: its curves and its judge."""

import math

import pytest
from support.claim_lines import run
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.efficiency import sensitivity as claim
from apical.lab._registry import CONTROL

AT_BEST, OCTAVE = 0.85, -9  # accuracy, and the best step size as a power of 2


def lines(fall=60.0, seeds=5, spread=1.0, best=OCTAVE, **falls):
    """Accuracies that fall by so many points an octave, down to 10 %, by rule."""
    found = []
    for rule in (*claim.LEARNING, CONTROL):
        points = falls.get(rule.replace("-", "_"), fall)
        top = 0.75 if rule == CONTROL else AT_BEST
        for octave in claim.OCTAVES:
            at = max(0.1, top - points / 100 * abs(octave - best))
            how = {"learning_rate": 2.0**octave, "seeds": seeds, "spread": spread}
            found += run(rule, at, data="made up", **how)
    return found


CASES = {
    "holds": [lines()],
    "holds within limits": [lines(fall=4.0), lines(pepita=4.0)],
    "does not hold": [lines(fall=0.1), lines(pepita=0.1), lines(fall=0.9)],
    "not settled": [lines(seeds=4), lines(best=claim.OCTAVES[0]), []],
}


@pytest.mark.parametrize("word", CASES)
def test_each_verdict_follows_from_lines_that_must_give_it(word):
    found = [claim.judge(each) for each in CASES[word]]
    assert [verdict.word for verdict in found] == [word] * len(found), [
        verdict.because for verdict in found
    ]


def test_a_best_step_at_an_end_is_refused():
    refused = claim.judge(lines(best=claim.OCTAVES[-1])).refused
    assert len(refused) == len(claim.LEARNING)
    assert refused[0].startswith("the best step size of backpropagation is an end")


@pytest.mark.parametrize(("fall", "width"), [(2.0, 1.0), (0.5, 4.0), (8.0, 0.25)])
def test_the_width_is_where_the_curve_is_a_point_lower(fall, width):
    curves = claim.Curves.of(lines(fall, spread=0), claim.LEARNING[0])
    assert curves.octaves == list(claim.OCTAVES)
    assert curves.octaves[curves.best] == OCTAVE and not curves.at_an_end()
    assert curves.widths()[3] == pytest.approx(width)
    assert curves.at_best()[3] == pytest.approx(100 * AT_BEST)
    assert curves.beside_best()[3] == pytest.approx(100 * AT_BEST - fall)


def test_a_curve_that_stays_near_its_best_ends_with_what_was_tried():
    curves = claim.Curves.of(lines(0.0, spread=0), claim.LEARNING[0])
    assert curves.widths()[0] == len(claim.OCTAVES) - 1
    assert curves.at_an_end()  # the first of equal ones


def test_a_run_that_diverged_has_no_accuracy():
    found = lines(2.0, spread=0)
    for line in found:
        if math.log2(line["learning_rate"]) > OCTAVE:
            line |= {"status": "diverged", "test_accuracy": None}
    curves = claim.Curves.of(found, claim.LEARNING[0])
    assert curves.beside_best()[0] == 0
    assert curves.widths()[0] == pytest.approx(0.5 + 1 / (100 * AT_BEST))


def test_the_widths_are_told():
    told = claim.CLAIM.published[0].measured
    assert "node-perturbation 1.0" in told(lines(2.0))
    assert told([]) == "not run at this scale"


def test_lines_are_drawn():
    assert_drawn(claim, lines())


@pytest.mark.sweep
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert len({line["learning_rate"] for line in outcome.lines}) == 3
    assert {line["optimizer"] for line in outcome.lines} == {"adam"}
