"""The claim about the path kernel: the judge, the picture, the smallest form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

import apical
from apical.claims import run_claim
from apical.claims.kernels import path_kernel as claim


def lines(error=1e-12, missed=10.0, midpoint=1e-4, seeds=5):
    """Lines with these numbers for every rule, width and seed."""
    return [
        {
            **{"rule": rule, "width": width, "seed": seed, "updates": 100},
            **{"loss": 0.05, "error": error, "midpoint": midpoint},
            "missed": missed * (1 + 0.01 * seed),
            "cosine": 1.0 if rule == claim.BACKPROP else 0.96 - 0.01 * seed,
        }
        for rule in claim.RULES
        for width in claim.SIZES["full"].widths
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (lines(), "holds within limits"),
        (lines(missed=0.5), "holds"),
        (lines(error=1e-5), "does not hold"),
        (lines(seeds=4), "not settled"),
        (lines(midpoint=1e-8), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_identity_and_miss(found, word):
    assert claim.judge(found).word == word


def with_last(**numbers):
    *others, last = lines(missed=0.5)
    return [*others, last | numbers]


@pytest.mark.parametrize(
    ("numbers", "word"),
    [
        ({"missed": 2.0}, "holds within limits"),
        ({"error": 1e-3}, "does not hold"),
        ({"error": None, "missed": None, "midpoint": None}, "not settled"),
        ({"missed": float("nan")}, "not settled"),
    ],
)
def test_one_seed_of_one_rule_decides(numbers, word):
    assert claim.judge(with_last(**numbers)).word == word


def test_the_verdict_says_what_was_measured_of_each_rule():
    told = claim.judge(lines()).because
    assert "backprop: identity within 1.0e-12" in told
    assert told.count("fixed coefficients miss by 10.0 to 10.4 %") == 4
    assert told.count("cosine to the kernel of backprop 0.920 to 0.960") == 3


def test_lines_are_drawn():
    assert_drawn(claim, lines())


def test_the_updates_to_a_loss_are_counted_by_hand():
    """One weight: w <- w - rate (w - 1), and the loss is (w - 1)^2 / 2."""

    def loss(w, x, y):
        return jnp.mean((x * w - y) ** 2) / 2

    learner = apical.value_and_grad(loss, apical.rules.Backpropagation())
    given = learner, jax.random.key(0), jnp.zeros(()), (jnp.ones(2), jnp.ones(2))
    needed = int(np.ceil(np.log(2 * claim.LOSS) / 2 / np.log(1 - claim.RATE)))
    assert claim.updates_to_loss(*given, 1000) == needed
    assert claim.updates_to_loss(*given, needed - 1) is None


@pytest.mark.sweep
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert {line["rule"] for line in outcome.lines} == set(claim.RULES)
    for line in outcome.lines:
        assert line["error"] < claim.EXACT < line["midpoint"]
        assert line["loss"] <= claim.LOSS and line["missed"] > 0
