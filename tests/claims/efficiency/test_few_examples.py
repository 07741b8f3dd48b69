"""Training on a few examples by any rule, and the claim about them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.efficiency import few_examples as claim
from apical.claims.efficiency._few_examples_runs import (
    FewExamples,
    Runs,
    drawn_examples,
    folds_of,
)
from apical.claims.efficiency._other_learners import LEARNERS
from apical.lab._registry import BASELINE, RULES
from apical.lab.data._dataset import Data


@pytest.fixture(scope="module")
def data():
    """Three classes around their centres, 40 training images and 20 to test."""
    rng = np.random.default_rng(0)
    y = np.arange(60, dtype=np.int32) % 3
    x = np.float32(3 * rng.normal(size=(3, 8))[y] + rng.normal(size=(60, 8)))
    return Data("blobs", "vectors", x[:40], y[:40], x[40:], y[40:], 3)


def test_folds_leave_each_example_out_once_and_never_use_others():
    examples = drawn_examples(3, 10, 40)
    assert np.array_equal(examples.order[:5], drawn_examples(3, 5, 40).order[:5])
    used = set(examples.order[:10].tolist())
    left_out = []
    for part, within in folds_of(examples, 4):
        kept = part.order[: part.number].tolist()
        assert set(kept) | set(within.tolist()) == used
        assert not set(kept) & set(within.tolist())
        assert sorted(part.order) == list(range(40))
        left_out += within.tolist()
    assert sorted(left_out) == sorted(used)


def test_a_network_learns_the_examples_in_use_and_no_others(data):
    train = FewExamples(data, RULES[BASELINE], (8,), 60)
    keys = jax.vmap(jax.random.key)(jnp.zeros(3, int))
    # All of them; two of one class; and at a rate of which nothing is left.
    order = np.arange(40)
    alone = np.concatenate([order[data.train_y == 1], order[data.train_y != 1]])
    orders = jnp.asarray(np.stack([order, alone, order]))
    counts, rates = jnp.asarray([40, 2, 40]), jnp.asarray([0.03, 0.03, jnp.nan])
    found = train(Runs(keys, orders, counts, rates, {}))
    assert found.ended.shape == (3, 60)
    assert found.ended[0, 40:].mean() > 0.8
    labels = np.concatenate([data.train_y, data.test_y])
    np.testing.assert_array_equal(found.ended[1], labels == 1)
    assert not found.ended[2].any()  # what diverged is wrong


@pytest.mark.parametrize("name", LEARNERS)
def test_other_learners_learn_too_and_have_sixteen_trials(data, name):
    learner = LEARNERS[name]
    assert len(learner.trials) == 16
    given = data.train_x[:30], data.train_y[:30], data.test_x
    best = max(
        (learner.classes_of(numbers, *given) == data.test_y).mean()
        for numbers in learner.trials[4::5]
    )
    assert best > 0.8


def test_every_family_has_a_rule_that_exists():
    assert set(claim.FAMILIES) <= set(RULES)


# ---- The verdict


def lines(best=(80.0, 85.0, 90.0), rest=70.0, seeds=16, end=(), risen=0.0):
    """Lines in which one rule has these accuracies, and backprop 75, 82, 88 %."""
    means = {rule: dict.fromkeys(claim.FEW, rest) for rule in claim.FAMILIES}
    means["pepita"] = dict(zip(claim.FEW, best, strict=True))
    means[BASELINE] = dict(zip(claim.FEW, (75.0, 82.0, 88.0), strict=True))
    means |= {name: dict.fromkeys(claim.FEW, 78.0) for name in LEARNERS}
    return [
        {
            **{"rule": rule, "data": "digits", "examples": n, "seed": seed},
            "test_accuracy": (mean + 0.3 * (seed % 5) * (-1) ** seed) / 100,
            **{"risen": risen, "at_an_end": rule in end},
        }
        for rule, of in means.items()
        for n, mean in of.items()
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (lines(), "holds"),
        (lines(best=(80.0, 82.0, 88.0)), "holds within limits"),
        (lines(best=(75.0, 82.0, 88.0)), "does not hold"),
        (lines(best=(75.9, 85.0, 90.0), seeds=4), "not settled"),
        (lines(end=(BASELINE,)), "not settled"),
        (lines(end=("forward-forward",)), "holds"),
        (lines(best=(75.0, 82.0, 88.0), end=("forward-forward",)), "not settled"),
        (lines(risen=2.0), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_the_accuracies_with_few_examples(found, word):
    assert claim.judge(found).word == word


def test_the_verdict_says_which_rule_and_how_many_examples():
    told = claim.judge(lines(best=(80.0, 85.0, 92.0))).because
    assert "pepita - backprop, 50 examples: +5.00 percent" in told
    assert "backpropagation: not enough examples to 90 %" in told


def test_the_examples_to_an_accuracy_are_interpolated():
    found = lines(best=(80.0, 85.0, 95.0))
    expected = np.exp((np.log(100) + np.log(200)) / 2)
    assert claim.examples_to(found, "pepita", 90.0) == pytest.approx(expected, rel=0.01)
    assert claim.examples_to(found, "pepita", 60.0) == 50
    assert claim.examples_to(found, "pepita", 99.0) is None


def test_lines_are_drawn():
    assert_drawn(claim, lines())


@pytest.mark.sweep
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    names = {BASELINE, "logistic regression", "nearest neighbours"}
    assert {each["rule"] for each in outcome.lines} == names
    assert all(0 <= each["test_accuracy"] <= 1 for each in outcome.lines)
