"""Searches for a rule, and the claim about evolution and random search."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.learned import _rule_search
from apical.claims.learned import rule_search as claim
from apical.claims.learned._lives import Form, Images
from apical.claims.learned._rule_search import (
    Search,
    by_evolution,
    by_gradient,
    by_one_rate,
    by_random_search,
    random_rule,
)
from apical.claims.learned._ways_to_learn import SHAPE, TAUGHT
from apical.lab import LabError

AIM = jnp.zeros(SHAPE).at[1, 0, 0, 1].set(0.5)


@pytest.fixture
def search(monkeypatch):
    """A search for one known rule, in place of lives."""
    monkeypatch.setattr(
        _rule_search, "mean_loss", lambda search, rule, key: jnp.sum((rule - AIM) ** 2)
    )
    nothing = jnp.zeros((3, 2, 4))
    images = Images(nothing, nothing)
    return Search(images, jnp.arange(3), Form(), 2, 6400, looks=4)


def test_a_random_rule_has_as_many_terms_as_are_wanted_and_sizes_within_the_span():
    keys = jax.random.split(jax.random.key(0), 300)
    found = np.asarray(jax.jit(jax.vmap(lambda k: random_rule(k, 3, 2.0)))(keys))
    assert np.all((found != 0).sum((1, 2, 3, 4)) == 3)
    sizes = np.abs(found[found != 0])
    assert 2 / 10**2.5 <= sizes.min() < 0.01 and 1.9 < sizes.max() <= 2
    assert 0.4 < np.mean(found[found != 0] > 0) < 0.6
    assert np.all(np.any(found != 0, 0))  # every term is drawn


def test_each_way_approaches_the_rule_that_is_best(search):
    def distances(find, **numbers):
        rules = find(search, jax.random.key(0), numbers)
        assert rules.shape == (4, *SHAPE)
        return np.square(np.asarray(rules - AIM)).sum((1, 2, 3, 4))

    start = float(jnp.sum(AIM**2))
    by_slope = distances(by_gradient, rate=0.01)
    assert by_slope[-1] < 1e-3 and by_slope[0] < start
    evolved = distances(by_evolution, rate=0.05, noise=0.05)
    assert evolved[-1] < start / 10
    drawn = distances(by_random_search, terms=1, largest=2.0)
    assert np.all(np.diff(drawn) <= 0) and drawn[-1] < start / 2
    one = by_one_rate(search, jax.random.key(0), {"rate": 0.5})
    np.testing.assert_allclose(one, np.broadcast_to(0.5 * TAUGHT, (4, *SHAPE)))


def test_the_rules_that_are_kept_are_those_at_the_ends_of_equal_parts(search):
    kept = search.last_of_parts(jnp.arange(100))
    assert kept.tolist() == [24, 49, 74, 99]


def test_without_evosax_it_is_said_what_to_install(search, monkeypatch):
    monkeypatch.setitem(sys.modules, "evosax.algorithms", None)
    with pytest.raises(LabError, match="pip install evosax"):
        by_evolution(search, jax.random.key(0), {"rate": 0.1, "noise": 0.1})


# ---- The verdict


def lines(evolved=(89.0, 89.0), drawn=(89.0, 89.0), seeds=5, **numbers):
    """Lines of rules that reach these accuracies on known and on new classes."""
    ends = {claim.EVOLUTION: evolved, claim.SEARCH: drawn}
    ends |= {claim.SGD: (89.0, 89.0), claim.GRADIENT: (90.0, 90.0)}
    usual = {rule: claim.TRIALS[rule][4] for rule in claim.WAYS}
    usual |= numbers
    found = []
    for rule, (known, new) in ends.items():
        for seed in range(seeds):
            shared = {"rule": rule, "data": "digits", "seed": seed}
            shared |= {"numbers": json.dumps(usual[rule])}
            wave = 0.1 * seed * (-1) ** seed
            for part, share in ((100, 0.5), (200, 1.0)):
                shown = shared | {"place": claim.KNOWN, "evaluations": part}
                found.append(shown | {"accuracy": share * known + wave})
            after = {"place": claim.NEW, "evaluations": 200, "accuracy": new + wave}
            found.append(shared | after)
    return found


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (lines(), "holds"),
        (lines(evolved=(89.0, 80.0)), "holds within limits"),
        (lines(evolved=(80.0, 80.0)), "does not hold"),
        (lines(drawn=(80.0, 80.0)), "does not hold"),
        (lines(seeds=4), "not settled"),
        (lines(**{claim.SGD: {"rate": 2.5}}), "not settled"),
        # An end matters only where more might have been reached beyond it.
        (lines(**{claim.EVOLUTION: {"rate": 0.03, "noise": 0.02}}), "holds"),
        (
            lines(
                evolved=(80.0, 80.0),
                **{claim.EVOLUTION: {"rate": 0.03, "noise": 0.02}},
            ),
            "not settled",
        ),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_the_rules_at_the_end(found, word):
    assert claim.judge(found).word == word


def test_evaluations_are_counted_until_the_accuracy_of_gradient_descent():
    assert claim.evaluations_until(lines(), claim.SEARCH) == dict.fromkeys(
        range(5), 200
    )
    never = claim.evaluations_until(lines(drawn=(80.0, 80.0)), claim.SEARCH)
    assert never == dict.fromkeys(range(5), np.inf)
    told = claim.judge(lines(drawn=(80.0, 80.0))).because
    assert "evolution: SGD reached by 5 of 5 seeds, after 200 evaluations" in told
    assert "random search: SGD reached by 0 of 5 seeds" in told


def test_lines_are_drawn():
    assert_drawn(claim, lines())


@pytest.mark.sweep
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert {each["rule"] for each in outcome.lines} == {claim.SGD, claim.SEARCH}
    assert all(0 <= each["accuracy"] <= 100 for each in outcome.lines)
