"""Spikes, dropout of the same variance, and the claim about them."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

import apical
from apical.claims import run_claim
from apical.claims.efficiency import spikes_dropout as claim
from apical.claims.efficiency._stochastic_units import (
    DROPOUT,
    RATES,
    SPIKES,
    Runs,
    Trainer,
    dropped,
    expected_squared_error,
    kept_fraction,
    logits,
    new_params,
)
from apical.lab.data._dataset import Data

P = np.array([0.1, 0.5, 0.7, 0.95])
W = np.array([1.0, -2.0, 0.5, 3.0])


def test_the_closed_form_is_the_mean_over_all_patterns_of_spikes():
    found = expected_squared_error(jnp.asarray(P), jnp.asarray(W), jnp.asarray(0.3))
    exact = sum(
        np.prod(np.where(s, P, 1 - P)) * (np.asarray(s) @ W - 0.3) ** 2
        for s in product((0, 1), repeat=4)
    )
    assert found == pytest.approx(exact, rel=1e-5)
    assert abs(found - (P @ W - 0.3) ** 2) > 1  # what the mean alone would give


def test_spikes_that_a_rule_draws_have_the_closed_form_as_their_mean():
    drive = jnp.asarray(np.log(P / (1 - P)))

    def loss_fn(w, x):
        spikes = apical.bernoulli(jax.nn.sigmoid(x * w["gain"]), "spikes")
        return jnp.mean((spikes @ w["readout"] - 0.3) ** 2)

    weights = {"gain": jnp.ones(4), "readout": jnp.asarray(W)}
    x = jnp.broadcast_to(drive, (4000, 4))
    learner = apical.value_and_grad(loss_fn, apical.rules.StraightThrough())
    state = learner.init(jax.random.key(0), weights, x)
    credit = jax.jit(learner)(weights, state, x)
    exact = expected_squared_error(jnp.asarray(P), jnp.asarray(W), jnp.asarray(0.3))
    assert credit.info.loss == pytest.approx(float(exact), rel=0.05)
    assert credit.value == pytest.approx((P @ W - 0.3) ** 2, rel=1e-4)


def test_dropout_has_the_mean_of_the_rates_and_the_variance_of_spikes():
    p = jnp.broadcast_to(jnp.asarray(P, jnp.float32), (20_000, 4))
    uniform = jax.random.uniform(jax.random.key(0), p.shape)
    found = np.asarray(dropped(p, uniform))
    np.testing.assert_allclose(found.mean(0), P, atol=0.03)
    assert found.var(0).sum() == pytest.approx((P * (1 - P)).sum(), rel=0.05)
    kept = float(kept_fraction(p))
    assert (P**2).sum() * (1 - kept) / kept == pytest.approx((P * (1 - P)).sum())


def test_only_dropout_and_spikes_are_noisy():
    params = new_params(jax.random.key(0), (3, 4, 4, 2))
    x = jnp.ones((5, 3))
    rates = logits(params, x, RATES)
    np.testing.assert_array_equal(rates, logits(params, x, SPIKES))  # drawn by the rule
    uniforms = jax.random.uniform(jax.random.key(1), (2, 5, 4))
    assert np.any(rates != logits(params, x, DROPOUT, uniforms))
    marked = apical.trace(lambda w, x: jnp.sum(logits(w, x, SPIKES)))(params, x)
    assert {"layer_1", "layer_2"} <= {node.name for node in marked.nodes}


@pytest.mark.parametrize("kind", [RATES, SPIKES, DROPOUT])
def test_networks_of_each_kind_learn_the_examples_in_use(kind):
    rng = np.random.default_rng(0)
    y = np.arange(60, dtype=np.int32) % 3
    x = np.float32(3 * rng.normal(size=(3, 8))[y] + rng.normal(size=(60, 8)))
    data = Data("blobs", "vectors", x[:40], y[:40], x[40:], y[40:], 3)
    train = Trainer(data, kind, (12, 12), 150)
    order = np.arange(40)
    alone = np.concatenate([order[y[:40] == 1], order[y[:40] != 1]])
    runs = Runs(
        jax.vmap(jax.random.key)(jnp.arange(2)),
        jnp.asarray(np.stack([order, alone])),
        jnp.asarray([40, 3]),
        jnp.asarray([0.03, 0.03]),
    )
    found = train(runs)
    assert found.accuracy[0, 40:].mean() > 0.8 and found.loss.shape == (2, 60)
    np.testing.assert_array_equal(found.accuracy[1], y == 1)


# ---- The verdict


def lines(spikes=20.0, dropout=20.0, rates=25.0, seeds=16, end=False, many=None):
    """Lines with these gaps; `many`: that of spikes at 1,000 examples."""
    return [
        {
            **{"rule": kind, "data": "mnist", "examples": n, "width": width},
            **{"seed": seed, "at_an_end": end, "train_accuracy": 1.0},
            "test_accuracy": 1 - (gap + 0.1 * seed * (-1) ** seed) / 100,
            **{"train_loss": 0.1, "test_loss": 0.5},
        }
        for n in claim.COUNTS
        for kind, gap in (
            (SPIKES, many if many is not None and n == 1000 else spikes),
            (DROPOUT, dropout),
            (RATES, rates),
        )
        for width in claim.WIDTHS
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (lines(), "holds"),
        (lines(many=24.8), "holds within limits"),
        (lines(spikes=25.0), "does not hold"),
        (lines(dropout=22.0), "does not hold"),
        (lines(seeds=4), "not settled"),
        (lines(end=True), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_the_gaps(found, word):
    assert claim.judge(found).word == word


def test_the_gaps_are_told():
    told = claim.CLAIM.published[0].measured(lines())
    assert "100 examples, width 400: rates 25.0, spikes 19.9, dropout 19.9" in told


def test_lines_are_drawn():
    assert_drawn(claim, lines())


@pytest.mark.sweep
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert {each["rule"] for each in outcome.lines} == {RATES, SPIKES, DROPOUT}
    assert all(each["test_loss"] > 0 for each in outcome.lines)
