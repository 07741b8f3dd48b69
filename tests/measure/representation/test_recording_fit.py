"""Made-up recordings whose true rule must be found, and controls without one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apical
from apical import rules
from apical.measure import recording_fit

RULES = {
    "backpropagation": rules.Backpropagation(),
    "feedback alignment": rules.FeedbackAlignment(),
    "direct feedback": rules.DirectFeedbackAlignment(),
}


def loss_fn(params, x, y):
    h = jax.nn.relu(x @ params["a"])
    h = jax.nn.relu(h @ params["b"])
    return jnp.mean((h @ params["c"] - y) ** 2)


@pytest.fixture(scope="module")
def network():
    """The values of the first hidden layer, and each rule's teaching signals there."""
    keys = jax.random.split(jax.random.key(0), 5)
    shapes = {"a": (10, 16), "b": (16, 16), "c": (16, 4)}
    params = {
        name: jax.random.normal(key, shape) * (2 / shape[0]) ** 0.5
        for key, (name, shape) in zip(keys, shapes.items(), strict=False)
    }
    x = jax.random.normal(keys[3], (400, 10))
    y = jnp.sin(3 * x[:, :4])
    signals = {}
    for name, rule in RULES.items():
        learner = apical.value_and_grad(loss_fn, rule)
        state = learner.init(keys[4], params, x, y)
        found = next(iter(jax.jit(learner.signals)(params, state, x, y).values()))
        signals[name] = np.asarray(found.teaching)
    return np.asarray(found.value), signals


def made_up(values, signal, strength, repeats=4):
    """40 neurons that mix the values with a signal, with noise in each repeat."""
    rng = np.random.default_rng(1)
    scaled = [part / part.std() for part in (values, signal)]
    mixed = [part @ rng.normal(size=(part.shape[1], 40)) for part in scaled]
    clean = mixed[0] + strength * mixed[1]
    return clean + 2 * rng.normal(size=(repeats, *clean.shape))


@pytest.mark.parametrize("truth", RULES)
def test_the_true_rule_is_found(network, truth):
    values, signals = network
    recording = made_up(values, signals[truth], 0.5)
    found = recording_fit(signals, recording, given=values)
    assert found.best == truth
    assert found.rules[truth].p < 0.01
    assert found.rules[truth].of_ceiling > 0.6
    for name, fit in found.rules.items():
        if name != truth:
            assert fit.behind > 0.05 and fit.p_behind < 0.01


def test_a_recording_of_activity_alone_has_no_rule(network):
    values, signals = network
    recording = made_up(values, signals["backpropagation"], 0.0)
    found = recording_fit(signals, recording, given=values)
    assert found.activity > 0.8
    assert all(fit.p > 0.01 and fit.explained < 0.01 for fit in found.rules.values())
    # Without the activity, any signal seems to explain it.
    loose = recording_fit(signals, recording)
    assert all(fit.p < 0.01 for fit in loose.rules.values())


def test_the_ceiling_is_what_is_no_noise(network):
    values, signals = network
    truth = signals["backpropagation"]
    found = recording_fit(signals, made_up(values, truth, 0.5), given=values)
    rng = np.random.default_rng(1)
    rng.normal(size=(values.shape[1], 40))
    weights = rng.normal(size=(truth.shape[1], 40))
    clean = 0.5 * truth / truth.std() @ weights
    signal = np.sum((clean - clean.mean(axis=0)) ** 2)
    noise = 2**2 / 4 * clean.size
    # A part of the signal is a linear function of the activity.
    assert found.ceiling < signal / (signal + noise)
    assert found.ceiling == pytest.approx(signal / (signal + noise), abs=0.15)
    single = recording_fit(signals, made_up(values, truth, 0.5)[0], given=values)
    assert np.isnan(single.ceiling) and "no repeats" in str(single)


def test_p_values_are_not_too_small_where_nothing_is_related():
    """They lean to 1: a held-out mean is on the other side of that of the rest."""
    rng = np.random.default_rng(2)
    found = [
        recording_fit(
            {"a": rng.normal(size=(40, 3))},
            rng.normal(size=(40, 4)),
            permutations=99,
            seed=i,
        )
        .rules["a"]
        .p
        for i in range(100)
    ]
    assert 0.4 < np.mean(found) < 0.8
    assert np.mean(np.asarray(found) <= 0.1) < 0.15


def test_a_record_for_each_rule(network):
    values, signals = network
    found = recording_fit(signals, made_up(values, values, 0.0), given=values)
    records = found.to_records()
    assert [each["rule"] for each in records] == list(found.rules)
    assert {"explained", "p", "ceiling", "activity", "neurons"} <= set(records[0])


def test_bad_arguments_are_named():
    x = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(ValueError, match="'a' has 20 examples, and `recording` 19"):
        recording_fit({"a": x}, x[:19])
    with pytest.raises(ValueError, match=r"`recording` has 1 entries .*\[4, 2\]"):
        recording_fit({"a": x}, np.where(np.arange(60).reshape(20, 3) == 14, np.nan, x))
    with pytest.raises(ValueError, match="`folds` must be from 2"):
        recording_fit({"a": x}, x, folds=11)
    with pytest.raises(ValueError, match="same for all examples"):
        recording_fit({"a": x}, np.ones((20, 3)))
    with pytest.raises(ValueError, match="has no rules"):
        recording_fit({}, x)
