"""Stochastic nodes: every estimator against the sum over all 2^n states.

In double precision, for two layers of 3 and 2 spikes with 32 states.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import assert_close, distance
from support.perturbation_by_hand import along, chain, flat, numbers, worst

import apical
from apical.circuit import stochastic_nodes
from apical.rules import Concrete, ScoreFunction, StraightThrough
from apical.rules.stochastic_nodes._sampling import fires, uniforms

KEY = jax.random.key(5)
PARAMS = jax.tree.map(lambda w: 1.5 * w, chain(4, 3, 2, 2))
X, Y = numbers(1, 3, 4), numbers(2, 3, 2)
ONE = X[:1], Y[:1]


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def probability(each, x):
    return jax.nn.sigmoid(x @ each["w"] + each["b"])


def network(params, x, mark=apical.bernoulli):
    for each in params[:-1]:
        x = mark(probability(each, x))
    return x @ params[-1]["w"] + params[-1]["b"]


def loss_fn(params, x, y):
    return 0.5 * jnp.mean(jnp.sum((network(params, x) - y) ** 2, axis=1))


STATES = np.array(list(itertools.product((0.0, 1.0), repeat=5)))


def expected_loss(params, x, y):
    """The sum over all states of their probability times their loss."""

    def of(x, y):
        def term(state):
            one, two = state[:3], state[3:]
            p, q = probability(params[0], x), probability(params[1], one)
            weight = jnp.prod(jnp.where(one > 0, p, 1 - p))
            weight *= jnp.prod(jnp.where(two > 0, q, 1 - q))
            out = two @ params[2]["w"] + params[2]["b"]
            return weight * 0.5 * jnp.sum((out - y) ** 2)

        return jnp.sum(jax.vmap(term)(jnp.asarray(STATES)))

    return jnp.mean(jax.vmap(of)(x, y))


def truth(data=(X, Y), params=PARAMS):
    return jax.jit(jax.grad(expected_loss))(jax.tree.map(jnp.asarray, params), *data)


def chances(params=PARAMS):
    """The probability of every state, on one example."""
    p = sigmoid(ONE[0] @ params[0]["w"] + params[0]["b"])
    q = sigmoid(STATES[:, :3] @ params[1]["w"] + params[1]["b"])
    both = np.concatenate([np.broadcast_to(p, (32, 3)), q], axis=1)
    return np.prod(np.where(STATES > 0, both, 1 - both), axis=1)


def forcing(state):
    """Uniform numbers that give exactly this state, for any probabilities."""
    u = 1 - jnp.asarray(state)
    return {"0": u[:3].reshape(1, 1, 3), "1": u[3:].reshape(1, 1, 2)}


def in_each_state(rule, params=PARAMS):
    """The estimate of a rule in each of the 32 states, for one example."""
    circuit = apical.trace(loss_fn)(params, *ONE)
    if isinstance(rule, ScoreFunction):
        at_rates = circuit.by_example(params, ONE)[1]

        def estimate(state):
            return rule._drawn(circuit, params, ONE, at_rates, forcing(state)).grads

    else:

        def estimate(state):
            def loss(params):
                def tap(site, computed, injected):
                    return rule.spike(computed, injected)

                noise = {n: u[0] for n, u in forcing(state).items()}
                run = circuit.run(params, ONE, tap=tap, inject=noise, sites=())
                return run.loss

            return jax.tree.leaves(jax.grad(loss)(jax.tree.map(jnp.asarray, params)))

    return flat(jax.jit(jax.vmap(estimate))(jnp.asarray(STATES)))


def bias(rule, params=PARAMS):
    """How far the exact mean over all states is from the truth, relative to it."""
    mean = chances(params) @ in_each_state(rule, params)
    true = flat(jax.tree.map(lambda t: t[None], truth(ONE, params)))[0]
    return np.linalg.norm(mean - true) / np.linalg.norm(true)


# --------------------------------------------------------------------------- the mark


def test_without_a_rule_the_loss_reads_the_means():
    def plain(params, x, y):
        out = network(params, x, mark=lambda p: p)
        return 0.5 * jnp.mean(jnp.sum((out - y) ** 2, axis=1))

    assert_close(jax.jit(loss_fn)(PARAMS, X, Y), plain(PARAMS, X, Y), 1e-12)
    rules = apical.rules
    for rule in (rules.Backpropagation(), rules.StraightThrough()):
        learner = apical.value_and_grad(loss_fn, rule)
        credit = learner(PARAMS, learner.init(KEY, PARAMS, X, Y), X, Y)
        assert_close(credit.value, plain(PARAMS, X, Y), 1e-12)
    found = apical.trace(loss_fn)(PARAMS, X, Y)
    assert stochastic_nodes(found) == ("0", "1") == tuple(n.name for n in found.nodes)
    assert all(n.unit for n in found.nodes)


def test_consumers_of_the_unmarked_probability_read_no_spike():
    def loss_fn(params, x):
        p = jax.nn.sigmoid(x @ params["a"])
        spikes = apical.bernoulli(p, "h")
        return jnp.mean(spikes @ params["b"]) + jnp.mean(p)

    params, x = {"a": numbers(0, 4, 3), "b": np.zeros((3, 1))}, X
    learner = apical.value_and_grad(loss_fn, StraightThrough())
    state = learner.init(KEY, params, x)
    credit = jax.jit(learner)(params, state, x)
    # With no weight on the spikes, what is left of the loss is the mean of p.
    assert_close(credit.info.loss, sigmoid(x @ params["a"]).mean(), 1e-12)
    found = apical.value_and_grad(loss_fn, StraightThrough()).signals(params, state, x)
    assert set(np.unique(found["h"].value)) <= {0.0, 1.0}
    assert 0 < np.min(found["h"].prediction) < np.max(found["h"].prediction) < 1


def test_a_node_fires_with_its_probability():
    p = jnp.linspace(0, 1, 5)
    u = uniforms(KEY, {"n": p}, 20000)["n"]
    rate = fires(jnp.broadcast_to(p, u.shape), u).mean(axis=0)
    np.testing.assert_allclose(rate, p, atol=0.015)
    assert rate[0] == 0
    assert rate[-1] == 1
    assert np.isnan(fires(jnp.array([-0.1, 1.1]), jnp.array([0.5, 0.5]))).all()


# --------------------------------------------------------------------------- unbiased


def test_the_probabilities_of_all_states_sum_to_one():
    np.testing.assert_allclose(chances().sum(), 1)
    assert chances().max() < 0.5


@pytest.mark.parametrize("baseline", ["rates", "none"])
def test_the_score_function_is_the_gradient_of_the_expectation(baseline):
    """The sum over all states of their probability times the estimate there."""
    rule = ScoreFunction(baseline=baseline)
    assert bias(rule) < 1e-10
    assert np.std(in_each_state(rule)) > 0.01


def test_a_baseline_lowers_the_variance():
    def variance(baseline):
        found = in_each_state(ScoreFunction(baseline=baseline))
        mean = chances() @ found
        return chances() @ np.sum((found - mean) ** 2, axis=1)

    assert variance("rates") < 0.7 * variance("none")


def test_drawn_from_its_key_the_score_function_is_unbiased_too():
    rule = ScoreFunction(draws=2, baseline="draws")
    learner = apical.value_and_grad(loss_fn, rule)
    keys = jax.random.split(KEY, 4000)
    found = flat(jax.jit(jax.vmap(lambda k: learner(PARAMS, k, X, Y).grads))(keys))
    true = flat(jax.tree.map(lambda t: t[None], truth()))[0]
    off, off_if_larger = along(found, true)
    assert off < 3
    assert worst(found, true) < 4.5
    assert off_if_larger > 4
    backprop = flat(
        jax.tree.map(lambda g: np.asarray(g)[None], jax.grad(loss_fn)(PARAMS, X, Y))
    )
    assert worst(found, backprop[0]) > 10  # the gradient at the rates is another


# ------------------------------------------------------------------------- with a bias


def test_straight_through_has_a_bias_that_grows_with_the_weights():
    """Its exact mean over all states is not the gradient of the expectation."""
    larger = [jax.tree.map(lambda w, s=s: s * w, PARAMS) for s in (1, 2, 4)]
    off = [bias(StraightThrough(), params) for params in larger]
    assert 0.02 < off[0] < off[1] < off[2]
    assert off[2] > 0.15
    assert bias(ScoreFunction(), larger[2]) < 1e-10


def test_straight_through_has_none_where_the_loss_is_linear_in_each_spike():
    def loss_fn(params, x):
        return jnp.mean(apical.bernoulli(probability(params[0], x)) @ params[1]["w"])

    learner = apical.value_and_grad(loss_fn, StraightThrough())
    grads = jax.jit(learner)(PARAMS, KEY, X).grads
    true = jax.grad(loss_fn)(PARAMS, X)  # here the expectation is the loss at the rates
    assert_close(grads[0], true[0], 1e-10)
    assert distance(grads[1], true[1]) > 0.05


def test_the_bias_of_concrete_goes_with_its_temperature_and_its_variance_comes():
    keys, true = jax.random.split(KEY, 20000), truth(ONE)
    true = flat(jax.tree.map(lambda t: t[None], true))[0]

    def draws(temperature):
        rule = Concrete(temperature)
        learner = apical.value_and_grad(loss_fn, rule)
        return jax.vmap(lambda k: learner(PARAMS, k, *ONE).grads)(keys)

    mapped = jax.jit(draws)
    off, spread = [], []
    for temperature in (2.0, 0.5, 0.1):
        found = flat(mapped(temperature))
        mean, size = found.mean(axis=0), np.linalg.norm(true)
        off.append(np.linalg.norm(mean - true) / size)
        spread.append(np.sum(found.var(axis=0)) / size**2)
    noise = (spread[2] / len(keys)) ** 0.5
    assert off[0] > 2 * off[1] > 4 * off[2]
    assert off[2] < 0.03 + 3 * noise < 0.1
    assert spread[0] < spread[1] < spread[2]


# ------------------------------------------------------------------------- by hand


def drawn(rule):
    """The uniform numbers of the first draw: `[examples, units]` for each layer."""
    now = jax.random.split(KEY)[0]
    circuit = apical.trace(loss_fn)(PARAMS, X, Y)
    if isinstance(rule, ScoreFunction):
        from apical.rules._numerics import fold_in_name

        now = fold_in_name(now, "spikes")
    found = uniforms(now, {n.name: n for n in circuit.nodes}, 1)
    return [np.asarray(found[n])[0] for n in "01"]


def soft(p, u, temperature):
    """The relaxed spike and its derivative with respect to the probability."""
    logit = np.log(p / (1 - p)) - np.log(u / (1 - u))
    r = sigmoid(logit / temperature)
    return r, r * (1 - r) / (temperature * p * (1 - p))


def by_hand(rule, u):
    """Two layers of spikes forward, and their estimate backward."""
    w = [each["w"] for each in PARAMS]

    def layer(below, i):
        p = sigmoid(below @ w[i] + PARAMS[i]["b"])
        spike = (u[i] < p).astype(float)
        if isinstance(rule, Concrete):
            r, slope = soft(p, u[i], rule.temperature)
            return p, spike if rule.hard else r, slope
        return p, spike, np.ones_like(p)

    p, one, slope_one = layer(X, 0)
    q, two, slope_two = layer(one, 1)
    error = (two @ w[2] + PARAMS[2]["b"] - Y) / 3
    if isinstance(rule, ScoreFunction):
        rates = p @ w[1] + PARAMS[1]["b"]
        rates = sigmoid(rates) @ w[2] + PARAMS[2]["b"]
        change = 0.5 * np.sum((3 * error) ** 2 - (rates - Y) ** 2, axis=1) / 3
        first, second = change[:, None] * (one - p), change[:, None] * (two - q)
    else:
        second = error @ w[2].T * slope_two * q * (1 - q)
        first = second @ w[1].T * slope_one * p * (1 - p)
    pairs = [(X, first), (one, second), (two, error)]
    return [{"b": d.sum(axis=0), "w": h.T @ d} for h, d in pairs]


RULES = [ScoreFunction(), StraightThrough(), Concrete(0.7), Concrete(0.7, hard=True)]


@pytest.mark.parametrize("rule", RULES, ids=["score", "through", "concrete", "hard"])
def test_two_layers_of_spikes_by_hand(rule):
    learner = apical.value_and_grad(loss_fn, rule)
    found = jax.jit(learner)(PARAMS, KEY, X, Y).grads
    assert_close(found, by_hand(rule, drawn(rule)), 1e-8)
    for other in RULES:
        if type(other) is not type(rule):
            assert distance(found, by_hand(other, drawn(rule))) > 0.1
    assert distance(found, by_hand(rule, [1 - u for u in drawn(rule)])) > 0.1


# ----------------------------------------------------------------------------- readout


def test_the_readout_is_at_the_rates_or_the_mean_of_many_networks():
    x = X[:1]

    def predicted(rule):
        learner = apical.value_and_grad(loss_fn, rule)
        return jax.jit(learner.predict)(PARAMS, KEY, x, Y[:1])

    rates = network(PARAMS, x, mark=lambda p: p)
    assert_close(predicted(ScoreFunction()), rates, 1e-10)
    outputs = STATES[:, 3:] @ PARAMS[2]["w"] + PARAMS[2]["b"]
    mean = chances() @ outputs
    found = predicted(StraightThrough(readout=20000))[0]
    assert np.max(np.abs(found - mean)) < 0.03 < 2 * np.max(np.abs(rates - mean)) + 0.1
    single = predicted(StraightThrough(readout=1))[0]
    assert np.min(np.sum(np.abs(outputs - single), axis=1)) < 1e-10


# ---------------------------------------------------------------------- in a loop


def test_spikes_in_a_loop_are_drawn_at_every_step():
    def loss_fn(params, x, y):
        def step(h, x):
            p = jax.nn.sigmoid(x @ params["in"] + h @ params["u"])
            return apical.bernoulli(p, "spikes"), None

        h, _ = jax.lax.scan(step, jnp.zeros((x.shape[1], 6)), x)
        return jnp.mean(jnp.sum((h @ params["out"] - y) ** 2, axis=1))

    params = {"in": numbers(0, 4, 6), "u": numbers(1, 6, 6), "out": numbers(2, 6, 2)}
    x, y = numbers(3, 5, 3, 4), Y
    for rule in RULES[:3]:
        learner = apical.value_and_grad(loss_fn, rule, batch_axes=(1, 0))
        state = learner.init(KEY, params, x, y)
        grads = jax.jit(learner)(params, state, x, y).grads
        assert all(np.any(g) and np.all(np.isfinite(g)) for g in jax.tree.leaves(grads))
        found = jax.jit(learner.signals)(params, state, x, y)["spikes"]
        assert found.value.shape == (5, 3, 6)
        if not isinstance(rule, Concrete):
            assert set(np.unique(found.value)) == {0.0, 1.0}
            assert len(np.unique(np.asarray(found.value).reshape(5, -1), axis=0)) == 5
