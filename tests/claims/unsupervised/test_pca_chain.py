"""Chained principal components: the judge, the network, and the runs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims._fairness import refuse_if_unfair
from apical.claims.unsupervised import pca_chain as claim
from apical.claims.unsupervised._training import (
    Budget,
    chosen_rate,
    descent,
    run_lines,
    training_runs,
    with_rate,
)
from apical.lab._registry import BASELINE, CONTROL

FULL = claim.SIZES["full"]


def lines(spread=0.05, seeds=8, rise=0.0, without=(), **scores):
    """Lines of every network; `narrow` replaces scores at 48-32."""
    given = {BASELINE: 97.0, CONTROL: 93.0, claim.SANGER: 96.9, claim.SUBSPACE: 96.9}
    given |= {claim.OJA: 60.0}
    narrow = scores.pop("narrow", {})
    found = []
    for data in FULL.updates:
        for widths in FULL.widths:
            for outputs in FULL.outputs:
                net = claim.named(widths)
                here = given | scores | (narrow if net == "48-32" else {})
                for rule, score in here.items():
                    said = {"data": data, "net": net, "outputs": outputs, "rule": rule}
                    for seed in range(0 if rule in without else seeds):
                        noise = spread * (seed % 3 - 1) if rule == claim.SANGER else 0
                        last = score + noise
                        course = {"score": [last - rise, last]}
                        found += run_lines(course, said | {"learning_rate": 0.1}, seed)
    return found


CASES = {
    "holds": [lines(), lines(sanger=98.0)],
    "holds within limits": [lines(sanger=95.0), lines(subspace=94.0)],
    "does not hold": [
        lines(sanger=95.0, narrow={claim.SANGER: 92.0}),
        lines(narrow={claim.SUBSPACE: 80.0}),
    ],
    "not settled": [
        lines(seeds=4),
        lines(without=(CONTROL,)),
        lines(spread=0.6, sanger=96.3, narrow={BASELINE: 96.4, CONTROL: 96.2}),
        [],
    ],
}


@pytest.mark.parametrize("word", CASES)
def test_each_verdict_follows_from_lines_that_must_give_it(word):
    found = [claim.judge(each) for each in CASES[word]]
    assert [verdict.word for verdict in found] == [word] * len(found)


def test_where_backprop_adds_nothing_random_layers_are_the_measure():
    flat = {BASELINE: 93.0, claim.SANGER: 93.0, claim.SUBSPACE: 93.0}
    findings = claim.judge(lines(**flat)).findings
    assert all(f.fits for f in findings if f.says == "at least as high")
    assert not any(f.fits for f in findings if f.says == "higher")


def test_a_seed_that_diverged_counts_as_nothing():
    lost = lines()
    for line in lost:
        if line["rule"] == claim.SANGER and line["seed"] == 0:
            line |= {"status": "diverged", "score": None}
    assert claim.judge(lost).word == "not settled"


def trials(won=1):
    return [
        {**{k: ln[k] for k in ("data", "net", "outputs", "rule")}, "trial": i}
        | {"learning_rate": 10.0**i, "numbers": "{}", "chosen": i == won}
        for ln in lines(seeds=1)
        if ln["epoch"] == 1
        for i in range(3)
    ]


def test_a_verdict_is_refused_at_an_end_and_while_backprop_is_still_learning():
    def refused(measured, drawn):
        verdict = claim.judge(measured)
        return refuse_if_unfair(claim.CLAIM, verdict, measured, drawn).refused

    assert refused(lines(), trials()) == ()
    told = refused(lines(), trials(0))
    assert any("the one with the smallest step size won" in why for why in told)
    told = refused(lines(rise=3.0), trials())
    assert any("is undertrained: it rises by 1.20 points" in why for why in told)


def test_lines_are_drawn():
    assert_drawn(claim, lines())


# ------------------------------------------------------------------ networks and trials


def parts(count=60, pixels=5):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(count, pixels)) * np.arange(1, pixels + 1)
    data = type("Data", (), {"train_x": x, "train_y": draw.integers(0, 3, count)})
    data.test_x, data.test_y = x[:20], data.train_y[:20]
    return claim.parts_of(data)


def test_images_are_centred_and_scaled_and_the_last_fifth_is_held_out():
    whole, held = parts()
    np.testing.assert_allclose(np.mean(whole.x, axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.mean(whole.x**2), 1, rtol=1e-5)
    assert len(held.x) == 48 and np.array_equal(held.tests, whole.x[48:])
    assert np.array_equal(whole.tests, whole.x[:20])


def test_whitened_test_images_are_standardised_like_the_training_images():
    whole, _ = parts()
    problem = claim.problem_of(BASELINE, 5, (4, 3), claim.WHITENED, 2)
    params = problem.init(jax.random.key(0))
    logits = claim.network(params, whole.x, whitened=True)[:20]
    right = 100 * float(np.mean(np.argmax(logits, axis=-1) == whole.labels))
    assert float(claim.accuracy(params, whole, True)) == pytest.approx(right, abs=1e-4)
    drive = claim.standardised(whole.x, whole.x)
    np.testing.assert_allclose(np.std(drive, axis=0), 1, atol=0.01)


@pytest.mark.parametrize("rule", [claim.SANGER, CONTROL])
def test_only_a_rule_moves_hidden_layers_and_every_readout_learns(rule):
    whole, _ = parts()
    problem = claim.problem_of(rule, 5, (4, 3), claim.WHITENED, 4)
    problem = problem._replace(measure=lambda params, data: params)
    found = training_runs(problem, 4, 2)([0], [0.01], whole)
    start = problem.init(jax.random.split(jax.random.key(0), 3)[0])
    moved = {
        name: not np.allclose(found[name][0, -1], start[name])
        for name in ("first", "second")
    }
    assert set(moved.values()) == {rule != CONTROL}
    assert not np.allclose(found["readout"]["w"][0, -1], start["readout"]["w"])


def test_the_best_finite_trial_is_chosen_over_all_tuning_seeds():
    by_rate = {0.1: 1.0, 1.0: 2.0, 10.0: float("nan")}

    def scores(seeds, rates):
        assert set(seeds) == {1000, 1001}
        return [by_rate[r] + s for s, r in zip(seeds, rates, strict=True)]

    rate, tried = chosen_rate(scores, Budget(1, 1, 1, tuple(by_rate), 2), {"rule": "a"})
    assert rate == 1.0 and [t["chosen"] for t in tried] == [False, True, False]
    assert tried[0] == tried[0] | {"held_out_score": 1001.5, "rule": "a", "trial": 0}
    assert tried[2]["held_out_score"] is None


def test_a_run_that_ends_in_nan_diverged():
    says = partial(run_lines, said={"rule": "a"}, seed=0)
    (_, last) = says({"score": [1.0, float("nan")]})
    assert last["status"] == "diverged" and last["score"] is None
    (_, last) = says({"score": [1.0, 2.0]})
    assert last["status"] == "ok" and last["epoch"] == last["epochs"] == 2


def test_a_step_size_is_set_in_the_state_and_falls_to_nothing():
    both = optax.chain(optax.scale(2.0), descent(4))
    state = with_rate(both.init(jnp.ones(3)), 0.5)
    moved = []
    for _ in range(5):
        update, state = both.update(jnp.ones(3), state)
        moved.append(float(update[0]))
    falls = -(1 + np.cos(np.pi * np.arange(5) / 4)) / 2
    np.testing.assert_allclose(moved, falls, atol=1e-6)


@pytest.mark.slow
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert {line["rule"] for line in outcome.lines} == set(claim.RATES)
