"""The claim about PowerSign and AddSign: its optimisers and its judge."""

import jax.numpy as jnp
import numpy as np
import pytest
from support.claim_lines import run
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims._run import judge_lines
from apical.claims.efficiency import power_sign as claim
from apical.lab._registry import BASELINE, CONTROL


def lines(power=0.60, add=0.60, usual=0.57, control=0.35, **how):
    at = {"power-sign": power, "add-sign": add} | dict.fromkeys(claim.USUAL, usual)
    found = []
    for name, accuracy in at.items():
        found += run(BASELINE, accuracy, optimizer=name, data="made up", **how)
    return found + run(CONTROL, control, optimizer="adam", data="made up", **how)


def adam(accuracy, found):
    """The same, with another accuracy of Adam."""
    kept = [line for line in found if line["optimizer"] != "adam"]
    return kept + run(BASELINE, accuracy, optimizer="adam", data="made up")


def uneven(found):
    """One optimiser whose seeds differ by tens of points."""
    for line in found:
        if line["optimizer"] == "momentum":
            line["test_accuracy"] += 0.2 * (-1) ** line["seed"]
    return found


CASES = {
    "holds": [lines()],
    "does not hold": [lines(add=0.57), lines(usual=0.62), adam(0.60, lines())],
    "not settled": [lines(usual=0.59), uneven(lines()), lines(seeds=4), []],
}


@pytest.mark.parametrize("word", CASES)
def test_each_verdict_follows_from_lines_that_must_give_it(word):
    found = [claim.judge(each) for each in CASES[word]]
    assert [verdict.word for verdict in found] == [word] * len(found), [
        verdict.because for verdict in found
    ]


def test_a_seed_that_diverged_counts_as_chance():
    lost = lines()
    for line in lost:
        if line["optimizer"] == "add-sign":
            line |= {"status": "diverged", "test_accuracy": None}
    assert claim.judge(lost).word == "does not hold"


@pytest.mark.parametrize("name", [*claim.NEW, *claim.USUAL])
def test_every_step_size_falls_along_half_a_cosine(name):
    optimizer = claim.optimizer(name)
    assert optimizer.span[1] / optimizer.span[0] == pytest.approx(900)
    made, w, g = optimizer.make(0.5, 4), jnp.ones(2), jnp.array([1.0, -2.0])
    state, sizes = made.init(w), []
    for _ in range(5):
        moved, state = made.update(g, state, w)
        assert np.all(np.sign(moved) * np.sign(g) <= 0)
        sizes.append(float(jnp.abs(moved).max()))
    assert sizes[0] > 0 and sizes[4] == 0
    if name == "gradient descent":
        cosine = (1 + np.cos(np.pi * np.arange(5) / 4)) / 2
        assert np.allclose(sizes, 0.5 * 2 * cosine, atol=1e-6)


def trials(name, won):
    rates = np.geomspace(1e-3, 1.0, 16)
    line = {"rule": BASELINE, "optimizer": name, "numbers": "{}", "status": "ok"}
    return [
        line | {"trial": i, "learning_rate": float(r), "chosen": i == won}
        for i, r in enumerate(rates)
    ]


def test_trials_of_one_optimiser_are_not_taken_for_those_of_another():
    names = (*claim.NEW, *claim.USUAL)
    every = [trial for name in names for trial in trials(name, 5)]
    found = lines()
    for line in found:
        if line["epoch"] == 1:  # nothing rises any more
            line["test_accuracy"] += 0.1
    assert judge_lines(claim.CLAIM, "full", found + every).verdict.refused == ()
    ends = [t for name in names for t in trials(name, 15 if name == "adam" else 5)]
    (told,) = judge_lines(claim.CLAIM, "full", found + ends).verdict.refused
    assert "adam" in told and "largest step size won" in told


def test_lines_are_drawn():
    assert_drawn(claim, lines())


@pytest.mark.slow
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert {line["optimizer"] for line in outcome.lines} == {"power-sign"}
    assert outcome.lines[-1]["status"] == "ok" and outcome.trials == []
