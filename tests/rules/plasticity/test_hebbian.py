"""Hebbian rules find principal components, select, and compete, as their papers say."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits
from support.check_on import check_on
from support.synapses_in_time import numbers

import apical
from apical.rules import Backpropagation, Hebbian

KINDS = ("oja", "sanger", "subspace", "bcm", "soft")


def loss_fn(params, x, y):
    h = jnp.tanh(x @ params["in"] + params["bias"])
    return jnp.mean((h @ params["out"] + params["shift"] - y) ** 2)


PARAMS = {
    "in": 0.4 * numbers(1, 5, 4),
    "bias": 0.1 * numbers(2, 4),
    "out": numbers(3, 4, 2),
    "shift": jnp.ones(2),
}
DATA = numbers(4, 7, 5), numbers(5, 7, 2)


def change(rule, loss_fn=loss_fn, params=PARAMS, args=DATA, **told):
    """The change dw that a rule asks for, by the names of parameters."""
    learner = apical.value_and_grad(loss_fn, rule, **told)
    state = learner.init(jax.random.key(0), params, *args)
    credit = jax.jit(learner)(params, state, *args)
    return jax.tree.map(lambda g: -np.asarray(g), credit.grads), credit


# ------------------------------------------------------------ by hand


def by_hand(kind, x, w):
    """Loops over examples and units: the mean of dw."""
    dw = np.zeros_like(w)
    for each in x:
        y = each @ w
        share = np.exp(y) / np.sum(np.exp(y))
        for k in range(w.shape[1]):
            if kind == "oja":
                dw[:, k] += y[k] * (each - y[k] * w[:, k])
            elif kind == "sanger":
                dw[:, k] += y[k] * (each - w[:, : k + 1] @ y[: k + 1])
            elif kind == "subspace":
                dw[:, k] += y[k] * (each - w @ y)
            elif kind == "bcm":
                theta = np.mean((x @ w[:, k]) ** 2)
                dw[:, k] += y[k] * (y[k] - theta) * each
            else:
                dw[:, k] += share[k] * (each - y[k] * w[:, k])
    return dw / len(x)


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_is_that_of_loops_by_hand(kind):
    found, credit = change(Hebbian(kind))
    x, w = np.asarray(DATA[0], np.float64), np.asarray(PARAMS["in"], np.float64)
    assert np.allclose(found["in"], by_hand(kind, x, w), rtol=1e-4, atol=1e-6)
    others = [by_hand(k, x, w) for k in KINDS if k != kind]
    assert not any(np.allclose(found["in"], o, rtol=1e-2) for o in others)
    assert float(credit.value) == pytest.approx(float(loss_fn(PARAMS, *DATA)))


def test_a_temperature_softens_the_competition():
    found, _ = change(Hebbian("soft", temperature=3.0))
    x, w = np.asarray(DATA[0]), np.asarray(PARAMS["in"])
    y = x @ w
    share = np.exp(y / 3) / np.exp(y / 3).sum(1, keepdims=True)
    expected = x.T @ share / len(x) - w * (share * y).mean(0)
    assert np.allclose(found["in"], expected, rtol=1e-4, atol=1e-6)


def test_bcm_ascends_the_objective_of_its_source():
    """With the threshold of the batch: E[y^3] / 3 - E[y^2]^2 / 4."""

    def objective(w):
        y = DATA[0] @ w
        return jnp.sum(jnp.mean(y**3, 0) / 3 - jnp.mean(y**2, 0) ** 2 / 4)

    found, _ = change(Hebbian("bcm", threshold_rate=1.0))
    assert np.allclose(found["in"], jax.grad(objective)(PARAMS["in"]), rtol=1e-4)


# ------------------------------------------------------------ principal components


def principal(seed=0, units=6):
    """Centred digits, and the leading eigenvectors of their covariance."""
    x = load_digits().data / 16
    x = x - x.mean(0)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    start = np.random.default_rng(seed).normal(size=(64, units)) / 8
    return jnp.float32(x), vectors[:, ::-1][:, :units], jnp.float32(start), values[::-1]


def learned(kind, updates, rate=1.0):
    x, _, start, _ = principal()
    # With the readout of one unit, a loss that nothing of the rule reads.
    params = {"w": start, "out": jnp.ones((6, 1))}
    learner = apical.value_and_grad(
        lambda p, x: jnp.mean((jnp.tanh(x @ p["w"]) @ p["out"]) ** 2), Hebbian(kind)
    )
    state = learner.init(jax.random.key(0), params, x)

    def step(w, _):
        return w - rate * learner({**params, "w": w}, state, x).grads["w"], None

    w = jax.jit(lambda w: jax.lax.scan(step, w, None, updates)[0])(start)
    return np.asarray(w, np.float64)


def angles(w, basis):
    """The cosines of the principal angles between two subspaces."""
    return np.linalg.svd(np.linalg.qr(w)[0].T @ basis)[1]


def matches(w, basis):
    return np.abs(np.sum(w * basis, axis=0)) / np.linalg.norm(w, axis=0)


def test_the_subspace_rule_spans_the_six_first_components_of_the_digits():
    _, basis, start, _ = principal()
    w = learned("subspace", 800)
    assert np.min(angles(w, basis)) >= 0.999
    assert np.min(angles(start, basis)) < 0.9
    assert np.allclose(w.T @ w, np.eye(6), atol=1e-2)
    assert np.min(matches(w, basis)) < 0.99  # the subspace, not its axes


def test_sangers_columns_each_match_an_eigenvector_and_ojas_alone_do_not():
    _, basis, _, _ = principal()
    assert np.min(matches(learned("sanger", 2000), basis)) >= 0.999
    alone = matches(learned("oja", 2000), basis)
    assert alone[0] >= 0.999  # each unit finds the first
    assert np.max(alone[1:]) < 0.1


# ------------------------------------------------------------ selectivity


def test_bcm_becomes_selective_for_one_of_two_orthogonal_inputs():
    """Fixed points (y1, y2): (2, 0) and (0, 2) are stable; (1, 1) is not; by hand.

    For two inputs of probability 1/2, theta = (y1^2 + y2^2) / 2, and y = theta where a
    unit responds: y1 alone gives y1 = 2 (one over the probability), both give 1.
    """
    x = jnp.eye(2)
    starts = jnp.array([[0.6, 1.01, 0.5], [0.5, 1.0, 0.6]])
    learner = apical.value_and_grad(
        lambda w, x: jnp.mean(x @ w),
        Hebbian("bcm", synapses=("params",), threshold_rate=1.0),
    )
    state = learner.init(jax.random.key(0), starts, x)

    def step(w, _):
        return w - 0.2 * learner(w, state, x).grads, None

    both = jnp.ones((2, 1))
    w = np.asarray(jax.lax.scan(step, starts, None, 400)[0])
    assert np.allclose(w, [[2, 2, 0], [0, 0, 2]], atol=1e-3)
    rest = apical.value_and_grad(learner.loss_fn, learner.rule)
    state = rest.init(jax.random.key(0), both, x)
    assert np.allclose(rest(both, state, x).grads, 0, atol=1e-7)


def test_a_threshold_is_a_weighted_mean_that_stays_from_call_to_call():
    rule = Hebbian("bcm", threshold_rate=0.25)
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(jax.random.key(0), PARAMS, *DATA)
    batches = [(numbers(s, 7, 5), DATA[1]) for s in (10, 11, 12)]
    for batch in batches:
        credit = learner(PARAMS, state, *batch)
        state = learner.reset(PARAMS, credit.state, *batch)
    squares = [np.mean((x @ PARAMS["in"]) ** 2, 0) for x, _ in batches]
    ages = 0.75 ** np.arange(2, -1, -1.0)
    theta = np.average(squares, axis=0, weights=ages)
    y = np.asarray(batches[-1][0] @ PARAMS["in"])
    expected = batches[-1][0].T @ (y * (y - theta)) / 7
    assert np.allclose(-credit.grads["in"], expected, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------ the read-out and the rest


def test_the_readout_takes_its_own_gradient_and_the_rest_is_listed():
    exact = jax.grad(loss_fn)(PARAMS, *DATA)
    found, credit = change(Hebbian())
    for name in ("out", "shift"):
        assert np.allclose(found[name], -exact[name], rtol=1e-5)
    assert credit.info.not_updated == ("bias",) and not np.any(found["bias"])
    assert np.any(exact["bias"])


@pytest.mark.parametrize("nodes", ["unit", "marked", "every"])
def test_neither_layer_depends_on_the_policy_of_nodes(nodes):
    expected, _ = change(Hebbian("subspace"))
    found, _ = change(Hebbian("subspace"), nodes=nodes)
    same = jax.tree.map(lambda a, b: np.allclose(a, b, rtol=1e-5), expected, found)
    assert all(jax.tree.leaves(same))


def test_a_readout_that_is_named_is_one_more_hebbian_layer():
    found, credit = change(Hebbian("sanger", synapses=("in", "out")))
    h = np.tanh(DATA[0] @ PARAMS["in"] + PARAMS["bias"])
    expected = by_hand("sanger", h, np.asarray(PARAMS["out"]))
    assert np.allclose(found["out"], expected, rtol=1e-4, atol=1e-6)
    assert credit.info.not_updated == ("bias",)
    alone, credit = change(Hebbian("sanger", synapses=("out",)))
    assert np.allclose(alone["out"], expected, rtol=1e-4, atol=1e-6)
    assert not np.any(alone["in"]) and credit.info.not_updated == ("bias", "in")


def test_a_tied_readout_learns_by_the_hebbian_update_of_its_first_use():
    def tied(w, x):
        return jnp.mean((jnp.tanh(x @ w) @ w.T - x) ** 2)

    found, _ = change(Hebbian(), tied, PARAMS["in"], DATA[:1])
    expected, _ = change(Hebbian())
    assert np.allclose(found, expected["in"], rtol=1e-5)


def test_the_loss_and_the_weights_above_change_nothing_below():
    def other(params, x, y):
        return 3 * loss_fn({**params, "out": -params["out"]}, x, y) ** 2

    found, expected = change(Hebbian(), other)[0], change(Hebbian())[0]
    assert np.array_equal(found["in"], expected["in"])
    assert not np.allclose(found["out"], expected["out"])


def test_a_sum_over_examples_is_the_number_of_examples_times_the_mean():
    mean, total = change(Hebbian())[0], change(Hebbian(), reduction="sum")[0]
    assert np.allclose(total["in"], 7 * mean["in"], rtol=1e-5)


@pytest.mark.parametrize("kind", ["sanger", "bcm"])
def test_hebbian_keeps_the_laws(kind):
    check_on(Hebbian(kind), loss_fn, PARAMS, DATA, skip=("signals", "pull"))


def test_it_trains_a_readout_on_hebbian_features():
    data = principal()[0], jax.nn.one_hot(load_digits().target, 10)
    params = {
        "in": numbers(1, 64, 20) / 8,
        "bias": jnp.zeros(20),
        "out": numbers(2, 20, 10) / 5,
        "shift": jnp.zeros(10),
    }
    step = apical.train_step(loss_fn, Hebbian("sanger"), optax.sgd(0.3))
    state = step.init(jax.random.key(0), params, *data)

    @jax.jit
    def train(params, state):
        def body(at, _):
            params, state, credit = step(*at, *data)
            return (params, state), credit.value

        return jax.lax.scan(body, (params, state), None, 100)[1]

    losses = train(params, state)
    assert float(losses[-1]) < 0.6 * float(losses[0])


# ------------------------------------------------------------ what is refused


def test_a_network_of_one_synapse_has_to_name_it():
    def single(params, x):
        return jnp.mean((x @ params["w"]) ** 2)

    params = {"w": PARAMS["in"]}
    with pytest.raises(ValueError, match=r"no other synapse \(synapses: 'w'\)"):
        change(Hebbian(), single, params, DATA[:1])
    found, _ = change(Hebbian(synapses=("w",)), single, params, DATA[:1])
    assert np.allclose(found["w"], change(Hebbian())[0]["in"], rtol=1e-5)


def test_a_name_that_no_synapse_has_is_refused():
    with pytest.raises(ValueError, match="names 'inn'; the synapses are 'in', 'out'"):
        change(Hebbian(synapses=("inn",)))


def test_complex_weights_are_refused():
    def wave(w, x):
        return jnp.mean(jnp.abs(jnp.tanh(x @ w["in"]) @ w["out"]) ** 2)

    params = {n: PARAMS[n].astype(complex) for n in ("in", "out")}
    with pytest.raises(ValueError, match="is defined for real numbers"):
        change(Hebbian(), wave, params, (DATA[0].astype(complex),))


def test_a_weight_that_is_not_linear_in_its_parameters_is_refused():
    def normed(params, x, y):
        w = params["in"] / jnp.linalg.norm(params["in"], axis=0)
        return loss_fn({**params, "in": w}, x, y)

    with pytest.raises(ValueError, match="Hebbian updates the effective weight"):
        change(Hebbian(), normed)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"kind": "hebb"}, "`kind` must be one of"),
        ({"synapses": "in"}, r"`synapses=\('in',\)`"),
        ({"threshold_rate": 0.0}, "`threshold_rate` must be a finite number above 0"),
        ({"threshold_rate": 1.5}, "`threshold_rate` is a fraction"),
        ({"temperature": 0.0}, "`temperature` must be"),
    ],
)
def test_a_wrong_field_is_refused(wrong, match):
    with pytest.raises(ValueError, match=match):
        Hebbian(**wrong)


def test_it_descends_no_loss():
    learner = apical.value_and_grad(loss_fn, Hebbian())
    state = learner.init(jax.random.key(0), PARAMS, *DATA)
    with pytest.raises(ValueError, match="Hebbian descends no loss"):
        apical.measure.alignment(learner)(PARAMS, state, *DATA)
    exact = learner.with_rule(Backpropagation())
    assert float(exact(PARAMS, (), *DATA).value) > 0
