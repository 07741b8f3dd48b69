"""Parameters alone as nodes: priors, and biases that generate."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import assert_close, distance

import apical
from apical.rules import (
    Backpropagation,
    ConjugateGradients,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    PredictiveCoding,
    ScoreFunction,
)

KEYS = jax.random.split(jax.random.key(5), 6)
W = {
    "prior": jax.random.normal(KEYS[0], (2,)),
    "a": jax.random.normal(KEYS[1], (2, 4)),
    "b": jax.random.normal(KEYS[2], (4, 3)) / 2,
}
X = jax.random.normal(KEYS[3], (5, 3))
TOP, INNER = 0.5, 2.0


def above(w, u, x):
    """Half the squared error of the data below a cause u."""
    missed = apical.node(u @ w["a"], "v") @ w["b"] - x
    return jnp.sum(missed**2) / 2 / len(x)


SPELLINGS = {
    "broadcast": lambda w, x: jnp.broadcast_to(w["prior"], (len(x), 2)),
    "tile": lambda w, x: jnp.tile(w["prior"], (len(x), 1)),
    "ones": lambda w, x: jnp.ones((len(x), 1)) * w["prior"],
    "repeat": lambda w, x: jnp.repeat(w["prior"][None], len(x), 0),
    "with data": lambda w, x: w["prior"] + 0 * x[:, :1],
}


def model(spelling):
    def loss_fn(w, x):
        return above(w, apical.node(SPELLINGS[spelling](w, x), "u"), x)

    return loss_fn


def posterior():
    """The mean of cause and node given the data: the solution of a linear system."""
    prior, a, b, x = (np.asarray(v) for v in (*(W[n] for n in W), X))
    upper = [TOP * np.eye(2) + INNER * a @ a.T, -INNER * a]
    lower = [-INNER * a.T, INNER * np.eye(4) + b @ b.T]
    known = np.concatenate([np.tile(TOP * prior, (len(x), 1)), x @ b.T], 1)
    both = np.linalg.solve(np.block([upper, lower]), known.T).T
    return both[:, :2], both[:, 2:]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_prior_and_the_data_meet_at_the_posterior(spelling):
    rule = PredictiveCoding(
        6,
        prediction="free",
        inference=ConjugateGradients(),
        precision={"u": TOP, "v": INNER},
    )
    learner = apical.value_and_grad(model(spelling), rule)
    state = learner.init(KEYS[4], W, X)
    signals = learner.signals(W, state, X)
    cause, node = posterior()
    found = signals["u"].value, signals["v"].value
    assert_close(found, (cause, node), rtol=1e-3, atol=1e-4)
    assert_close(signals["u"].prediction, SPELLINGS["broadcast"](W, X), atol=1e-6)
    grads = learner(W, state, X).grads
    by_hand = -TOP * (cause - np.asarray(W["prior"])).mean(0)
    assert_close(grads["prior"], by_hand, rtol=1e-3, atol=1e-4)
    assert distance(grads["prior"], jax.grad(model(spelling))(W, X)["prior"]) > 0.1


def test_one_example_has_one_prior():
    loss_fn = model("broadcast")
    circuit = apical.trace(loss_fn)(W, X[:1])
    assert circuit.example_axes["u"] == 0
    assert apical.trace(loss_fn)(W, X).example_axes == {"u": 0, "v": 0, "output": 0}


def test_the_gradient_and_fixed_predictions_are_as_without_the_mark():
    unmarked = jax.grad(lambda w: above(w, SPELLINGS["tile"](w, X), X))(W)
    for rule in (Backpropagation(), PredictiveCoding()):
        learner = apical.value_and_grad(model("tile"), rule)
        assert_close(learner(W, (), X).grads, unmarked)


def test_a_prior_takes_the_signal_that_its_rule_sends_to_the_node():
    true = jax.grad(model("broadcast"))(W, X)
    for rule in (FeedbackAlignment(), DirectFeedbackAlignment()):
        learner = apical.value_and_grad(model("broadcast"), rule)
        state = learner.init(KEYS[4], W, X)
        credit = learner(W, state, X)
        signal = learner.signals(W, state, X)["u"].teaching
        assert_close(credit.grads["prior"], signal.sum(0))
        assert_close(credit.grads["b"], true["b"])
        assert distance(credit.grads["prior"], true["prior"]) > 0.1


def test_a_spike_may_be_drawn_from_a_parameter_alone():
    """Against the expected loss, by enumeration of all spikes of an example."""

    def loss_fn(w, x):
        rate = jnp.broadcast_to(jax.nn.sigmoid(w["prior"]), (len(x), 2))
        return above(w, apical.bernoulli(rate, "u"), x)

    def expected(w):
        spikes = jnp.array(list(itertools.product((0.0, 1.0), repeat=2)))
        rate = jax.nn.sigmoid(w["prior"])
        chance = jnp.prod(jnp.where(spikes > 0, rate, 1 - rate), 1)
        each = jax.vmap(lambda s: above(w, jnp.broadcast_to(s, (len(X), 2)), X))
        return chance @ each(spikes)

    learner = apical.value_and_grad(loss_fn, ScoreFunction(draws=5000))
    state = learner.init(KEYS[4], W, X)
    found = jax.jit(learner)(W, state, X).grads["prior"]
    assert_close(found, jax.grad(expected)(W)["prior"], rtol=0.05, atol=0.02)
    assert distance(found, jax.grad(loss_fn)(W, X)["prior"]) > 0.02


def alone(w, x):
    return above(w, apical.node(w["prior"], "u") + jnp.zeros((len(x), 1)), x)


def mapped(w, x):
    def one(x):
        return above(w, apical.node(w["prior"], "u")[None], x[None])

    return jnp.mean(jax.vmap(one)(x))


def weight(w, x):
    kept = {**w, "a": apical.node(w["a"], "a")}
    return above(kept, SPELLINGS["with data"](w, x), x)


@pytest.mark.parametrize("loss_fn", [alone, mapped, weight])
def test_one_value_for_all_examples_is_refused_with_the_spelling_that_works(loss_fn):
    with pytest.raises(ValueError, match=r"one for all examples.*jnp\.broadcast_to"):
        apical.trace(loss_fn)(W, X)


def test_a_weight_is_no_node_where_there_are_no_examples_either():
    with pytest.raises(ValueError, match="if it is a weight, remove the mark"):
        apical.trace(weight, batch_axes=None)(W, X)
    circuit = apical.trace(alone, batch_axes=None)(W, X)
    assert {"u", "v"} <= {node.name for node in circuit.nodes}


def test_what_no_parameter_computes_is_still_no_node():
    with pytest.raises(ValueError, match=r"'x'.*does not depend on the parameters"):
        apical.trace(lambda w, x: above(w, apical.node(x, "x")[:, :2], x))(W, X)

    def constant(w, x):
        return above(w, x[:, :2], x) + jnp.sum(apical.output(w["prior"]))

    with pytest.raises(ValueError, match="parameters alone, and an output"):
        _ = apical.trace(constant)(W, X).output_shape
