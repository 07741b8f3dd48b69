"""A generator by any rule: the networks, the judge, and the runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

import apical
from apical import rules
from apical.claims import run_claim
from apical.claims.unsupervised import gan_any_rule as claim
from apical.claims.unsupervised._training import run_lines
from apical.lab._registry import BASELINE


def lines(seeds=8, noise=0.05, **octaves):
    """Lines of all rules, by the octaves of their distance over backpropagation's."""
    names = {"kp": claim.KOLEN_POLLACK, "sign": claim.SIGNS, "fa": claim.ALIGNMENT}
    above = dict.fromkeys(claim.RULES, 2.0)
    above |= {BASELINE: 0.0, **dict.fromkeys(claim.DECIDING, 0.5)}
    above |= {names[name]: value for name, value in octaves.items()}
    found = [{"rule": claim.INDEPENDENT, "data": "digits", "distance": 1.7}]
    for rule, more in above.items():
        for seed in range(seeds):
            jitter = noise * (seed % 3 - 1) * (len(rule) % 5)
            score = 1.0 - more + jitter
            course = {"score": [score] * 2, "distance": [2**-score] * 2}
            course |= {"aligned_below": [0.5] * 2, "aligned_above": [0.7] * 2}
            found += run_lines(course, {"rule": rule, "learning_rate": 1e-3}, seed)
    return found


CASES = {
    "holds": [lines(), lines(kp=0.0, fa=-1.0)],
    "holds within limits": [lines(fa=4.0), lines(sign=1.0)],
    "does not hold": [lines(kp=3.0), lines(kp=1.0, fa=4.0)],
    "not settled": [lines(kp=1.0), lines(seeds=4), []],
}


@pytest.mark.parametrize("word", CASES)
def test_each_verdict_follows_from_lines_that_must_give_it(word):
    found = [claim.judge(each) for each in CASES[word]]
    assert [verdict.word for verdict in found] == [word] * len(found), [
        verdict.because for verdict in found
    ]


def test_the_verdict_says_the_distances_and_the_cosines():
    told = claim.judge(lines()).because
    assert f"{BASELINE} 0.50 (cosine 0.50)" in told
    assert told.endswith("independent pixels 1.70")


def test_lines_are_drawn():
    assert_drawn(claim, lines())


@pytest.mark.slow
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    last = {line["rule"]: line for line in outcome.lines}
    assert last[BASELINE]["aligned_below"] == pytest.approx(1, abs=1e-4)
    assert last[claim.INDEPENDENT]["distance"] > 0


# --------------------------------------------------------------------- the networks


def test_the_generator_ascends_what_the_discriminator_descends():
    params = claim.initial(jax.random.key(0))
    real = jnp.full((5, 64), 0.3)
    causes = jax.random.normal(jax.random.key(1), (5, claim.CAUSES))

    def plain(params):
        odds = claim._odds(params, claim.generated(params, causes))
        missed = jax.nn.softplus(odds) + 0.9 * jax.nn.softplus(
            -claim._odds(params, real)
        )
        return jnp.mean(missed + 0.1 * jax.nn.softplus(claim._odds(params, real)))

    found = jax.jit(jax.grad(claim.loss_fn))(params, real, causes)
    exact = jax.jit(jax.grad(plain))(params)
    for name, sign in {"g_hidden": -1, "g_out": -1, claim.FIRST: 1, "d_out": 1}.items():
        np.testing.assert_allclose(found[name]["w"], sign * exact[name]["w"], atol=1e-6)


def test_the_distance_of_gaussians_is_that_of_means_and_deviations():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(4000, 3))
    apart = claim.frechet_distance(x, 2 * x + 1)
    mean, deviation = x.mean(axis=0), x.std(axis=0, ddof=1)
    assert apart == pytest.approx(np.sum((mean + 1) ** 2 + deviation**2), rel=1e-6)
    assert claim.frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert np.isnan(claim.frechet_distance(x * np.nan, x))


def test_exact_feedback_everywhere_is_backpropagation_and_in_the_first_layer_is_not():
    params = claim.initial(jax.random.key(0))
    real = jax.random.uniform(jax.random.key(3), (4, 64))
    causes = jax.random.normal(jax.random.key(1), (4, claim.CAUSES))
    learner = apical.value_and_grad(claim.loss_fn, rules.FeedbackAlignment())
    state = learner.init(jax.random.key(2), params, real, causes)
    credit = jax.jit(learner)

    def update(layers):
        exact = claim.with_exact(state, params, layers)
        return credit(params, exact, real, causes).grads["g_hidden"]["w"]

    truth = jax.jit(jax.grad(claim.loss_fn))(params, real, causes)["g_hidden"]["w"]
    np.testing.assert_allclose(update(tuple(params)), truth, atol=1e-6)
    assert not np.allclose(update((claim.FIRST,)), truth, atol=1e-6)
    assert not np.allclose(update((claim.FIRST,)), update(()), atol=1e-6)
