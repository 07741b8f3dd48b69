"""The claim about the spectrum of rules: what is measured, and its judge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical import rules
from apical.claims import run_claim
from apical.claims.efficiency import _falls
from apical.claims.efficiency import spectrum as claim

# ---- The verdict

POWERS = {claim.WEIGHTS: 2.0, claim.NODES: 1.0, claim.FEEDBACK: 0.4}


def lines(powers=None, seeds=10, at_an_end=(), lost=()):
    """Falls that shrink with these powers of the width, slightly apart by seed."""
    by = dict.fromkeys(claim.RULES, 0.0) | POWERS | (powers or {})
    return [
        {
            **{"rule": rule, "data": "digits", "width": width, "seed": seed},
            "fall": None
            if rule in lost
            else 0.01 * width ** -(power + 0.01 * (seed % 3)),
            **{"fall_of_backprop": 0.01, "length": 0.1},
            "at_an_end": rule in at_an_end,
            **{"cosine": 0.5, "along": 1.0, "bias": 0.5, "variance": 2.0},
        }
        for rule, power in by.items()
        for width in claim.SIZES["full"].widths
        for seed in range(seeds)
    ]


CASES = {
    "holds": [lines(), lines({claim.DIRECT: 1.5})],
    "holds within limits": [
        lines({claim.WEIGHTS: 1.0}),
        lines({claim.FEEDBACK: -0.5}),
    ],
    "does not hold": [
        lines({claim.FEEDBACK: 1.0}),
        lines({claim.NODES: 0.4}),
        lines({claim.FEEDBACK: 1.5, claim.NODES: 2.5, claim.WEIGHTS: 3.0}),
    ],
    "not settled": [
        lines(seeds=4),
        lines(at_an_end=(claim.NODES,)),
        lines(lost=(claim.FEEDBACK,)),
        [],
    ],
}


@pytest.mark.parametrize("word", CASES)
def test_each_verdict_follows_from_lines_that_must_give_it(word):
    found = [claim.judge(each) for each in CASES[word]]
    assert [verdict.word for verdict in found] == [word] * len(found), [
        verdict.because for verdict in found
    ]


def test_exponents_are_those_of_the_powers():
    found = claim.exponents(lines({claim.NODES: 1.3}), claim.NODES)
    assert found[0] == pytest.approx(1.3) and found[2] == pytest.approx(1.32)
    told = claim.CLAIM.published[0].measured(lines())
    assert told.startswith("weight perturbation 2.01") and "node perturb" in told


def test_lines_are_drawn():
    assert_drawn(claim, lines())


# ---- What is measured


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 3
    x = np.float32(2 * rng.normal(size=(3, 5))[y] + rng.normal(size=(40, 5)))
    params = _falls.initial_weights(jax.random.key(0), 5, 6, 3)
    return params, (jnp.asarray(x), jnp.asarray(y))


def test_the_fall_is_the_mean_of_the_falls_by_steps_of_that_length(problem):
    params, data = problem
    drawn = _falls.gradients(
        rules.Backpropagation(), data, (params, ()), jax.random.key(1), 5
    )
    for name in ("first", "second"):
        assert np.allclose(drawn.ours[name], drawn.theirs[name], atol=1e-6)
    assert not np.any(drawn.ours["readout"])
    examples = [each[drawn.rows] for each in data]
    found = _falls.falls(params, drawn.ours, examples)
    each = [{k: g[i] for k, g in drawn.ours.items()} for i in range(5)]
    size = np.sqrt(np.mean([sum(np.sum(g**2) for g in e.values()) for e in each]))
    for place in (8, 13):
        eta = _falls.LENGTHS[place] / size
        fallen = []
        for i, grad in enumerate(each):
            one = [part[i : i + 1] for part in examples]
            moved = {k: params[k] - eta * grad[k] for k in params}
            fallen.append(_falls.loss_fn(params, *one) - _falls.loss_fn(moved, *one))
        expected = float(np.mean(fallen))
        assert float(found[place]) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(
    ("rule", "entries"),
    [
        (rules.WeightPerturbation(), 5 * 6 + 6 * 6 + 6 * 3),
        (rules.NodePerturbation(), 15),
    ],
)
def test_perturbation_has_no_bias_and_the_variance_of_its_entries(
    problem, rule, entries
):
    params, (x, y) = problem
    one = x[:1], y[:1]  # of a single example: the variance is that of the noise alone
    _, state = _falls.familiar(rule, one, params, jax.random.key(2), 0)
    drawn = _falls.gradients(rule, one, (params, state), jax.random.key(3), 6000)
    found = _falls.bias_and_variance(drawn)
    assert float(found["along"]) == pytest.approx(1, abs=0.15)
    # |xi|^2 is the number of entries n, and a gradient lies along one of them: n - 1
    # for the whole gradient, of which the hidden part has a share.
    assert 0.3 * entries < float(found["variance"]) < 2.0 * entries
    assert abs(float(found["bias"])) < 0.1 * entries


def test_feedback_alignment_has_bias_and_no_variance(problem):
    params, data = problem
    rule = rules.FeedbackAlignment()
    at = _falls.familiar(rule, data, params, jax.random.key(2), 100)
    drawn = _falls.gradients(rule, data, at, jax.random.key(3), 50)
    found = _falls.bias_and_variance(drawn)
    assert float(found["bias"]) > 0.05
    assert float(found["variance"]) == pytest.approx(0, abs=1e-3)


def test_backprop_has_cosine_1_and_no_variance_for_one_example(problem):
    params, (x, y) = problem
    drawn = _falls.gradients(
        rules.Backpropagation(), (x[:1], y[:1]), (params, ()), jax.random.key(0), 3
    )
    found = _falls.bias_and_variance(drawn)
    assert float(found["cosine"]) == pytest.approx(1, abs=1e-5)
    assert float(found["variance"]) == pytest.approx(0, abs=1e-5)


@pytest.mark.sweep
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    for line in outcome.lines:
        if line["rule"] == claim.BACKPROP and line["fall"] is not None:
            assert line["fall"] == pytest.approx(line["fall_of_backprop"], rel=1e-4)
