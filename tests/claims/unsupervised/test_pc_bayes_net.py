"""Predictive coding in Gaussian Bayes nets: exact inference, the judge, the runs."""

import jax
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.unsupervised import pc_bayes_net as claim
from apical.claims.unsupervised._gaussian_tree import (
    ROOT,
    Net,
    belief_propagation,
    divergence,
    first_term,
    gain_and_covariance,
    half_log_determinant,
    posterior_means,
)


def lines(seeds=5, trees=claim.TREES, **settled):
    """Lines in which these numbers of the settled rule are replaced."""
    exact = {"values": 1e-14, "messages": 1e-15, "likelihood": 0.8}
    exact |= {"first_term": 1e-14, "completed": 1e-14}
    others = {claim.FEW: 0.1, claim.EQUAL: 0.3, claim.FORWARD: 1.0}
    found = []
    for tree in trees:
        for seed in range(seeds):
            where = {"tree": tree, "seed": seed}
            found += [where | exact | settled | {"rule": claim.SETTLED}]
            found += [
                where | exact | {"rule": r, "values": v} for r, v in others.items()
            ]
            found += [where | {"learner": "a", "divergence": 0.1 + seed}]
    return found


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (lines(likelihood=1e-14), "holds"),
        (lines(), "holds within limits"),
        (lines(values=1e-3), "does not hold"),
        (lines(first_term=1e-3), "does not hold"),
        (lines(completed=float("nan")), "does not hold"),
        (lines(messages=1e-3), "not settled"),
        (lines(seeds=4), "not settled"),
        (lines(trees=("chain",)), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_values_and_updates(found, word):
    assert claim.judge(found).word == word


def test_one_seed_of_one_tree_decides():
    found = lines()
    found[0] |= {"values": 1e-3}
    assert claim.judge(found).word == "does not hold"


def test_a_control_that_needs_no_inference_settles_nothing():
    found = lines()
    for line in found:
        if line.get("rule") == claim.EQUAL and line["seed"] == 3:
            line["values"] = 1e-3
    assert claim.judge(found).word == "not settled"


def test_the_verdict_says_what_was_measured():
    told = claim.judge(lines()).because
    assert told.startswith("inference, and learning of the likelihood without log|S|/2")
    assert told.count("off the gradient of the likelihood by 80 % to 80 %") == 3


def test_lines_are_drawn():
    assert_drawn(claim, lines())


# ------------------------------------------------------------------ exact inference


def test_samples_have_the_mean_the_covariance_and_the_posterior_of_the_net():
    """The truth by regression: of what is hidden and seen on the root, and on both."""
    net = Net.drawn(claim.TREES["hidden branches"], 3)
    data = {v: np.asarray(x) for v, x in net.sample(0, 50_000).items()}
    root, seen = data[ROOT], {v: data[v] for v in net.tree.seen}
    both = np.concatenate(list(seen.values()), axis=1)
    gain, covariance = gain_and_covariance(net)
    slope = np.linalg.lstsq(root, both, rcond=None)[0]
    np.testing.assert_allclose(slope, gain, atol=0.03)
    missed = both - root @ slope
    np.testing.assert_allclose(missed.T @ missed / len(root), covariance, atol=0.05)
    given = np.concatenate([root, both], axis=1)
    means = posterior_means(net, root, seen)
    for v in net.tree.hidden:
        slope = np.linalg.lstsq(given, data[v], rcond=None)[0]
        assert np.abs(given @ slope - means[v]).mean() < 0.02
    messages = belief_propagation(net, root[:9], {v: x[:9] for v, x in seen.items()})
    for v in net.tree.hidden:
        np.testing.assert_allclose(messages[v], means[v][:9], atol=1e-5)


def test_the_likelihood_is_that_of_a_gaussian_and_the_divergence_that_of_two():
    truth, net = (Net.drawn(claim.TREES["two children"], seed) for seed in (0, 1))
    data = truth.sample(1, 100_000)
    given = data[ROOT], {v: data[v] for v in net.tree.seen}
    losses = [first_term(n, *given) + half_log_determinant(n) for n in (truth, net)]
    apart = float(losses[1] - losses[0])
    assert apart == pytest.approx(float(divergence(truth, net)), rel=0.05)
    assert float(divergence(truth, truth)) == pytest.approx(0, abs=1e-4)


@pytest.mark.sweep
def test_what_the_update_lacks_is_half_the_log_determinant():
    with jax.enable_x64(True):
        net = Net.drawn(claim.TREES["chain"], 0)
        found = claim.compared(net, net.sample(0, 50))
    settled, few = found[claim.SETTLED], found[claim.FEW]
    assert (
        settled["values"] < claim.EXACT < few["values"] < found[claim.EQUAL]["values"]
    )
    assert settled["completed"] < claim.EXACT < settled["likelihood"]
    assert few["completed"] > claim.EXACT  # the control: it has not settled


@pytest.mark.sweep
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    found = {line["rule"]: line for line in outcome.lines if "rule" in line}
    assert set(found) == set(claim.NAMES)
    assert found[claim.FORWARD]["values"] == pytest.approx(1)
    assert found[claim.EQUAL]["values"] > claim.SEEN
