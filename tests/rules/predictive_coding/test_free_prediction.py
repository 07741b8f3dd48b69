"""Free predictions: the equilibrium, and convergence to it."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, batch, distance, layers, network
from support.by_hand import loss_fn as mlp_loss
from support.predictive_coding_by_hand import linear_equilibrium, linear_loss

import apical
from apical.rules import IncrementalPredictiveCoding, PredictiveCoding

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(4, 5, 3)
FREE = PredictiveCoding(7, 0.2, prediction="free")


def credit_of(rule, loss_fn=mlp_loss, params=PARAMS, data=DATA, **keywords):
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    return jax.jit(learner)(params, (), *data)


# ------------------------------------------------------------------ the equilibrium


def test_a_linear_network_settles_at_the_solution_of_its_linear_system():
    with jax.enable_x64(True):
        params, data = layers(5, 7, 6, 3), batch(4, 5, 3)
        values, expected = linear_equilibrium(params, *data)
        rule = PredictiveCoding(2000, 0.2, prediction="free")
        credit = credit_of(rule, linear_loss, params, data)
        assert_close(credit.grads, expected, rtol=1e-8, atol=1e-10)
        found = jax.jit(apical.value_and_grad(linear_loss, rule).signals)(
            params, (), *data
        )
        for value, signal in zip(values, found.values(), strict=True):
            np.testing.assert_allclose(signal.value, value, rtol=1e-8)
        assert credit.info.settled
        exact = jax.grad(linear_loss)(params, *data)
    assert distance(expected, exact) > 0.1  # it is not backpropagation


def energy_by_hand(values, params, x, y):
    """The sum over the examples of half the squared errors, the output's included."""
    below = [x, *values]
    predictions = [
        jnp.tanh(v @ p["w"] + p["b"]) for v, p in zip(below, params[:-1], strict=False)
    ]
    output = values[-1] @ params[-1]["w"] + params[-1]["b"]
    pairs = [*zip(values, predictions, strict=True), (output, y)]
    return 0.5 * sum(jnp.sum((v - p) ** 2) for v, p in pairs)


def energies(rate, steps):
    """Return the energy by hand after each number of steps."""

    @jax.jit
    def ends():
        rules = [PredictiveCoding(t, rate, prediction="free") for t in steps]
        found = [
            apical.value_and_grad(mlp_loss, rule).signals(PARAMS, (), *DATA)
            for rule in rules
        ]
        values = [[s.value for s in each.values()] for each in found]
        return jnp.stack([energy_by_hand(v, PARAMS, *DATA) for v in values])

    return np.asarray(ends())


def test_the_energy_never_rises_under_a_small_step_and_does_under_a_large_one():
    small = energies(0.1, (1, 2, 3, 5, 8, 13, 21))
    start = 4 * mlp_loss(PARAMS, *DATA)  # at the feed-forward values only the loss
    assert start > small[0]
    assert np.all(np.diff(small) < 1e-5)
    assert small[-1] < 0.9 * start
    assert np.any(np.diff(energies(2.5, (1, 2, 3))) > 0)


DISGUISES = {
    "nothing": lambda h: h,
    "times one": lambda h: 1.0 * h,
    "cast": lambda h: h.astype(jnp.bfloat16).astype(h.dtype),
    "reshaped": lambda h: h.reshape(-1).reshape(h.shape),
    "copied": lambda h: jnp.copy(h),
    "one more node": lambda h: apical.node(h * 2.0, f"double{h.shape[1]}") / 2.0,
}


@functools.cache
def disguised(name):
    def loss_fn(params, x, y):
        for each in params[:-1]:
            x = DISGUISES[name](jnp.tanh(x @ each["w"] + each["b"]))
        return 0.5 * jnp.sum((x @ params[-1]["w"] + params[-1]["b"] - y) ** 2) / len(x)

    rule = PredictiveCoding(100, 0.2, prediction="free")
    nodes = len(apical.trace(loss_fn)(PARAMS, *DATA).nodes)
    return nodes, credit_of(rule, loss_fn).grads


@pytest.mark.parametrize("name", ["times one", "cast", "reshaped", "copied"])
def test_an_activity_in_disguise_settles_at_the_same_equilibrium(name):
    nodes, grads = disguised(name)
    assert nodes == 2
    # Values in 16 bits are known to one part in 256.
    assert distance(grads, disguised("nothing")[1]) < (0.02 if name == "cast" else 1e-5)


def test_one_more_node_settles_elsewhere():
    nodes, grads = disguised("one more node")
    assert nodes > 2
    assert distance(grads, disguised("nothing")[1]) > 0.05


# ----------------------------------------------------------------- the way to it

INFERENCE = {
    "rate": (None, optax.sgd(0.2)),
    "momentum": (optax.sgd(0.1, momentum=0.9),) * 2,
    "adam": (optax.adam(0.05),) * 2,
}


def loop_by_hand(optimizer, steps, params, x, y):
    values = []
    for each in params[:-1]:
        values.append(jnp.tanh((values[-1] if values else x) @ each["w"] + each["b"]))
    state = optimizer.init(values)
    for _ in range(steps):
        slope = jax.grad(energy_by_hand)(values, params, x, y)
        updates, state = optimizer.update(slope, state, values)
        values = optax.apply_updates(values, updates)
    grads = jax.grad(energy_by_hand, argnums=1)(values, params, x, y)
    return jax.tree.map(lambda g: g / len(x), grads)


@pytest.mark.parametrize("name", INFERENCE)
def test_seven_steps_equal_seven_steps_by_hand(name):
    inside, outside = INFERENCE[name]
    by_hand = jax.jit(functools.partial(loop_by_hand, outside, 7))
    found = credit_of(replace(FREE, inference=inside)).grads
    assert_close(found, by_hand(PARAMS, *DATA), atol=1e-5)
    assert distance(found[0], jax.grad(mlp_loss)(PARAMS, *DATA)[0]) > 0.05


def test_it_says_whether_the_values_settled():
    rules = [
        replace(FREE, steps=t, rate=r) for t, r in [(3, 0.2), (200, 0.3), (200, 9.0)]
    ]
    few, many, wild = (credit_of(rule).info for rule in rules)
    assert not few.settled
    assert few.residual > 0.01
    assert many.settled
    assert many.residual < 1e-3
    assert not wild.settled  # nor if there is no number left


def test_the_value_is_the_loss_of_the_undisturbed_network():
    credit = credit_of(FREE)
    np.testing.assert_allclose(credit.value, mlp_loss(PARAMS, *DATA), rtol=1e-6)


def test_as_the_pull_of_the_loss_vanishes_it_becomes_backpropagation():
    def pulled(params, x, y, c):
        return c * mlp_loss(params, x, y)

    rule, expected = replace(FREE, steps=200), jax.grad(mlp_loss)(PARAMS, *DATA)
    learner = jax.jit(apical.value_and_grad(pulled, rule, batch_axes=(0, 0, None)))

    def error(c):
        grads = learner(PARAMS, (), *DATA, jnp.float32(c)).grads
        return distance(jax.tree.map(lambda g: g / c, grads), expected)

    errors = [error(c) for c in (1.0, 0.01, 0.001)]
    assert errors[0] > 0.5
    np.testing.assert_allclose(errors[1] / errors[2], 10, rtol=0.1)
    assert errors[2] < 0.005


# -------------------------------------------------------- a rule's number is a number


@pytest.mark.parametrize("prediction", ["fixed", "free"])
def test_the_gradient_may_be_differentiated_by_the_rate(prediction):
    rule = replace(FREE, steps=3, prediction=prediction)

    @jax.jit
    def size(rate):
        grads = apical.value_and_grad(mlp_loss, replace(rule, rate=rate))(
            PARAMS, (), *DATA
        ).grads
        return jnp.sum(grads[0]["w"] ** 2)

    slope = jax.jit(jax.grad(size))(0.3)
    numerical = (size(0.31) - size(0.29)) / 0.02
    assert abs(slope) > 1e-3
    np.testing.assert_allclose(slope, numerical, rtol=0.02)


@pytest.mark.parametrize("prediction", ["fixed", "free"])
def test_many_rates_at_once_equal_one_after_the_other(prediction):
    rates = jnp.array([0.1, 0.3, 0.5])
    rule = replace(FREE, steps=3, prediction=prediction)

    def grads(rule):
        return apical.value_and_grad(mlp_loss, rule)(PARAMS, (), *DATA).grads

    together = jax.jit(jax.vmap(grads))(replace(rule, rate=rates))
    one = jax.jit(grads)
    for i, rate in enumerate(rates):
        found = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        assert_close(found, one(replace(rule, rate=rate)), atol=1e-5)
    known = credit_of(replace(rule, rate=0.5)).grads
    assert_close(found, known, atol=1e-5)
    assert distance(together[0]["w"][0], together[0]["w"][2]) > 0.1


def test_predict_is_the_feed_forward_network():
    learner = apical.value_and_grad(mlp_loss, FREE)
    assert_close(learner.predict(PARAMS, (), *DATA), network(PARAMS, DATA[0]))


# ------------------------------------------------------------------- what the loss is


def total(params, x, y):
    return len(x) * mlp_loss(params, x, y)


def begun(rule, loss_fn, data=DATA, **keywords):
    step = apical.train_step(loss_fn, rule, optax.sgd(0.1), **keywords)
    return step.init(KEY, PARAMS, *data)


@pytest.mark.parametrize("rule", [FREE, IncrementalPredictiveCoding()], ids=repr)
@pytest.mark.parametrize("examples", [4, 1])
def test_a_loss_that_is_not_reduced_as_it_is_said_to_be_is_refused(rule, examples):
    data = batch(examples, 5, 3)
    begun(rule, mlp_loss, data)
    begun(rule, total, data, reduction="sum")
    with pytest.raises(ValueError, match=r"said to be a mean.*as a sum does"):
        begun(rule, total, data)
    with pytest.raises(ValueError, match=r"said to be a sum.*as a mean does"):
        begun(rule, mlp_loss, data, reduction="sum")


def test_a_loss_that_says_nothing_of_how_it_is_reduced_passes():
    """Examples that depend on each other, noise, a fixed number of examples."""

    def normed(params, x, y):
        return mlp_loss(params, (x - x.mean(0)) / x.std(0), y)

    def noisy(params, x, y):
        return mlp_loss(params, x + jax.random.normal(KEY, x.shape), y)

    def fixed(params, x, y):
        return mlp_loss(params, x.reshape(4, 5), y)

    def nothing(params, x, y):
        return 0 * total(params, x, y)

    for loss_fn in (normed, noisy, fixed, nothing):
        begun(FREE, loss_fn)
    begun(PredictiveCoding(), total)  # fixed predictions are exact all the same
    jax.jit(lambda x: begun(FREE, total, (x, DATA[1])))(DATA[0])  # no numbers to see
