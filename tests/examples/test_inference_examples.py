"""Bayes net, perception, sum-product network, missing word: exact posteriors."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.examples import example

from apical.rules import (
    Backpropagation,
    PredictiveCoding,
)

net, perception = example("gaussian_bayes_net"), example("generative_perception")
spn, words = example("sum_product_network"), example("missing_word")

# ---- Gaussian Bayes net


@pytest.fixture(scope="module")
def bayes():
    """Weights of a net, and data of another."""
    keys = jax.random.split(jax.random.key(0), 3)
    return net.net(keys[0]), net.sample(net.net(keys[1]), keys[2], 12)


def test_conditioning_messages_and_the_joint_precision_agree(bayes):
    params, data = bayes
    s, x, y = map(np.float64, data)
    w, p = {name: np.float64(leaf) for name, leaf in params.items()}, net.PRECISION
    # The precision of (u, a) given all else is that of the quadratic form itself.
    of_u = p["u"] * np.eye(3) + p["a"] * w["a"] @ w["a"].T
    of_a = p["a"] * np.eye(5) + sum(p[n] * w[n] @ w[n].T for n in "xy")
    both = np.block([[of_u, -p["a"] * w["a"]], [-p["a"] * w["a"].T, of_a]])
    pull = p["u"] * s @ w["u"], p["x"] * x @ w["x"].T + p["y"] * y @ w["y"].T
    means = np.linalg.solve(both, np.hstack(pull).T).T
    for found in (net.posterior_means, net.belief_propagation):
        u, a = (found(params, s, x, y)[name] for name in "ua")
        np.testing.assert_allclose(np.hstack([u, a]), means, atol=1e-12)


def test_predictive_coding_settles_at_the_posterior_means(capsys):
    found = net.main(net.EXACT, examples=32)
    assert max(found["u"], found["a"]) < 1e-5
    assert found["likelihood, no log-determinant"] > 0.999999
    assert found["likelihood"] < 0.99
    assert "messages" in capsys.readouterr().out


def test_another_precision_or_rule_does_not(bayes, monkeypatch):
    assert net.main(Backpropagation(), examples=32)["u"] > 0.1
    monkeypatch.setattr(net, "with_precision", lambda rule, precision: rule)
    assert net.main(net.EXACT, examples=32)["u"] > 0.01


def test_values_that_have_not_settled_are_said_to_have_not(capsys):
    few = replace(net.EXACT, steps=2)
    for rule, said in ((few, True), (net.EXACT, False), (Backpropagation(), False)):
        net.main(rule, examples=16)
        assert ("have not settled" in capsys.readouterr().out) == said


def test_the_likelihood_is_that_of_the_joint_normal_density(bayes):
    params, (s, x, y) = bayes
    w = {name: np.float64(leaf) for name, leaf in params.items()}
    draw = np.random.default_rng(0)

    def noise(name):
        return draw.normal(size=(200000, net.SIZE[name])) / net.PRECISION[name] ** 0.5

    a = (s[0] @ w["u"] + noise("u")) @ w["a"] + noise("a")
    drawn = np.hstack([a @ w[n] + noise(n) for n in "xy"])
    apart = np.hstack([x[0], y[0]]) - drawn.mean(0)
    spread = np.cov(drawn.T)
    by_draws = apart @ np.linalg.solve(spread, apart) + np.linalg.slogdet(spread)[1]
    found = net.negative_log_likelihood(params, s[:1], x[:1], y[:1])
    np.testing.assert_allclose(found, by_draws / 2, rtol=0.02)


# ---- Perception


@pytest.fixture(scope="module")
def settled():
    return PredictiveCoding(steps=300, prediction="free")


@pytest.mark.parametrize("loss_fn", perception.MODELS)
def test_the_belief_stops_where_the_energy_first_does(loss_fn, settled):
    x = 1 + perception.SURPRISES
    belief, _ = perception.perceive(loss_fn, settled, 1.0, x)
    exact = [perception.downhill(loss_fn, 1.0, float(each)) for each in x]
    np.testing.assert_allclose(belief, exact, atol=5e-3)
    stays, _ = perception.perceive(loss_fn, Backpropagation(), 1.0, x)  # the control
    np.testing.assert_allclose(stays, 1.0, atol=1e-6)


def test_a_gaussian_belief_weighs_both_by_precision(settled, monkeypatch):
    x = np.float32([-3.0, 0.5, 4.0])
    for precision in (0.5, 1.0, 4.0):
        monkeypatch.setitem(perception.MODELS, perception.gaussian, precision)
        belief, update = perception.perceive(perception.gaussian, settled, 2.0, x)
        exact = perception.gaussian_belief(2.0, x, precision)
        np.testing.assert_allclose(belief, exact, atol=2e-3)
        # The update of the prior is that of the likelihood, of this variance.
        by_hand = np.mean(2.0 - x) / (1 + 1 / precision)
        np.testing.assert_allclose(update, by_hand, atol=2e-3)


def test_only_the_heavy_tailed_prior_is_overridden_by_a_large_surprise():
    shares = {
        name: [perception.downhill(name, 0.0, size) / size for size in (1.0, 16.0)]
        for name in perception.MODELS
    }
    small, large = zip(*shares.values(), strict=True)
    np.testing.assert_allclose(small, [0.5, 0.97, 0.03], atol=0.01)
    np.testing.assert_allclose(large, [0.5, 0.03, 0.97], atol=0.01)


# ---- Sum-product network


def test_the_backward_pass_of_a_sum_product_network_is_every_marginal(key):
    params, x = spn.network(key, 8, 3), jax.random.bernoulli(key, 0.5, (5, 8))
    seen = np.arange(8) % 3 == 0
    exact, total = spn.enumerated_marginals(params, np.int32(x), seen)
    found = jax.jit(spn.marginals)(params, spn.indicators(x, seen))
    np.testing.assert_allclose(total, 1, rtol=1e-5)
    np.testing.assert_allclose(found, exact, atol=1e-5)
    prior = spn.marginals(params, spn.indicators(x, np.zeros(8, bool)))
    assert np.abs(prior - exact)[:, ~seen].max() > 0.02  # the control: nothing is seen


def test_a_marginal_of_64_pixels_is_the_ratio_of_two_likelihoods(key):
    params, x = spn.network(key, 64, 2), jax.random.bernoulli(key, 0.5, (2, 64))
    seen = np.arange(64) > 9
    both = spn.indicators(x, seen)
    one = both.at[:, 3, 0].set(-30.0)
    value = jax.jit(spn.log_value)
    ratio = jnp.exp(value(params, one) - value(params, both))
    found = jax.jit(spn.marginals)(params, both)[:, 3]
    np.testing.assert_allclose(found, ratio, rtol=1e-3)


# ---- Missing word


def test_the_least_loss_is_the_conditional_entropy():
    every, probability = words.sentences()
    np.testing.assert_allclose(probability.sum(), 1)

    def entropy(p):
        return -np.sum(p * np.log(p))

    least = []
    for place in range(4):  # H(sentence) - H(context)
        contexts = np.delete(every, place, axis=1)
        _, which = np.unique(contexts, axis=0, return_inverse=True)
        merged = np.bincount(which.ravel(), probability)
        least.append(entropy(probability) - entropy(merged))
    np.testing.assert_allclose(words.least_loss(), np.mean(least))
    assert words.least_loss() < np.log(len(words.WORDS)) / 3


def test_a_posterior_is_that_of_bayes_rule_by_hand():
    sentence = [words.WORDS.index(word) for word in ["girl", "feeds", "often", "birds"]]
    chance = words.exact_posterior(sentence, 0)
    girl, boy = 0.3 * 0.2 * 0.6, 0.3 * 0.5 * 0.6
    assert np.isclose(chance[words.WORDS.index("girl")], girl / (girl + boy))
    assert np.isclose(chance[words.WORDS.index("boy")], boy / (girl + boy))
