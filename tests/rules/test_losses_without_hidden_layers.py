"""Losses without a hidden layer: every rule whose signals are gradients takes them."""

import itertools

import jax
import jax.numpy as jnp
import optax
import pytest
from support.by_hand import assert_close, distance

import apical
from apical import rules

KEYS = jax.random.split(jax.random.key(0), 6)
RBM = {
    "w": jax.random.normal(KEYS[0], (4, 3)),
    "v": jax.random.normal(KEYS[1], (4,)),
    "h": jax.random.normal(KEYS[2], (3,)),
}
DATA = (jax.random.uniform(KEYS[3], (5, 4)) < 0.5).astype(float)
STATES = jnp.array(list(itertools.product((0.0, 1.0), repeat=4)))


def free_energy(p, v):
    return -v @ p["v"] - jnp.sum(jax.nn.softplus(v @ p["w"] + p["h"]), -1)


def log_partition(p):
    """The logarithm of a partition function, of parameters alone."""
    return jax.nn.logsumexp(-free_energy(p, STATES))


def likelihood(p, v):
    """The negative log-likelihood of a restricted Boltzmann machine."""
    return jnp.mean(free_energy(p, v)) + log_partition(p)


def contrast(p, v, dream):
    return jnp.mean(free_energy(p, v) - free_energy(p, jax.lax.stop_gradient(dream)))


def penalty(p):
    return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(p))


def mean_of_data(p, v):
    return jnp.mean((v - p["v"]) ** 2)


def fire(key, z):
    drawn = jax.random.bernoulli(key, jax.nn.sigmoid(z)).astype(float)
    return jax.lax.stop_gradient(drawn)


def log_p(z, s):
    return -jnp.sum(optax.sigmoid_binary_cross_entropy(z, s), -1)


def wake_sleep(p, x, key):
    """A Helmholtz machine: every layer reads what was drawn, not computed."""
    first, second, third = jax.random.split(key, 3)
    h = fire(first, x @ p["up"])
    wake = log_p(h @ p["down"], x) + log_p(p["top"], h)
    h = fire(second, jnp.broadcast_to(p["top"], (len(x), 3)))
    x = fire(third, h @ p["down"])
    return -jnp.mean(wake + log_p(x @ p["up"], h))


HELMHOLTZ = {"up": RBM["w"], "down": RBM["w"].T, "top": RBM["h"]}
LOSSES = {
    "a partition function": (log_partition, RBM, (), 0),
    "a penalty": (penalty, RBM, (), 0),
    "a likelihood": (likelihood, RBM, (DATA,), 0),
    "contrastive divergence": (contrast, RBM, (DATA, DATA[::-1]), 0),
    "the mean of data": (mean_of_data, RBM, (DATA,), 0),
    "wake-sleep": (wake_sleep, HELMHOLTZ, (DATA, KEYS[5]), (0, None)),
}
EXACT = {
    "FeedbackAlignment": rules.FeedbackAlignment(),
    "SignConcordance": rules.SignConcordance(),
    "KolenPollack": rules.KolenPollack(),
    "WeightMirror": rules.WeightMirror(),
    "DirectFeedbackAlignment": rules.DirectFeedbackAlignment(),
    "PredictiveCoding": rules.PredictiveCoding(),
    "PredictiveCoding, free": rules.PredictiveCoding(prediction="free"),
    "PredictiveCoding, a solver, nudged": rules.PredictiveCoding(
        prediction="free", inference=rules.ConjugateGradients(), nudge=rules.Nudge(0.1)
    ),
    "IncrementalPredictiveCoding": rules.IncrementalPredictiveCoding(),
    "ActivationRelaxation": rules.ActivationRelaxation(),
    "EquilibriumPropagation": rules.EquilibriumPropagation(),
    "DualPropagation": rules.DualPropagation(),
    "SyntheticGradients": rules.SyntheticGradients(),
    "LocalLosses": rules.LocalLosses(),
    "TargetPropagation": rules.TargetPropagation(),
    "Backpropagation": rules.Backpropagation(),
}


@pytest.mark.parametrize("name", EXACT)
def test_the_update_is_the_gradient(name):
    for loss_fn, params, args, axes in LOSSES.values():
        if name == "WeightMirror" and loss_fn is wake_sleep:
            continue  # a mirror needs weights that are one parameter each
        learner = apical.value_and_grad(loss_fn, EXACT[name], batch_axes=axes)
        state = learner.init(KEYS[4], params, *args)
        credit = learner.credit(params, state, *args)
        value, grads = jax.value_and_grad(loss_fn)(params, *args)
        assert_close(credit.grads, grads, rtol=1e-4, atol=1e-5)
        assert_close(credit.value, value)
        assert learner.signals(params, state, *args) == {}
        other = jax.tree.map(lambda leaf: leaf + 0.1, params)
        assert distance(credit.grads, jax.grad(loss_fn)(other, *args)) > 1e-3


def test_a_training_step_descends_a_loss_of_parameters_alone():
    step = apical.train_step(penalty, rules.FeedbackAlignment(), optax.sgd(0.1))
    state = step.init(KEYS[0], RBM)
    after, _, credit = jax.jit(step)(RBM, state)
    assert_close(after, jax.tree.map(lambda leaf: 0.8 * leaf, RBM))
    assert_close(credit.value, penalty(RBM))


DEEP = {"a": RBM["w"], "b": RBM["w"].T}


def hidden(p, x):
    return jnp.mean((jnp.tanh(x @ p["a"]) @ p["b"] - x) ** 2)


@pytest.mark.parametrize("name", EXACT)
def test_a_hidden_layer_over_data_that_is_closed_over_is_refused(name):
    learner = apical.value_and_grad(lambda p: hidden(p, DATA), EXACT[name])
    with pytest.raises(ValueError, match=r"hidden layer over .*pass them as arguments"):
        learner.init(KEYS[0], DEEP)
    apical.value_and_grad(hidden, EXACT[name]).init(KEYS[0], DEEP, DATA)


@pytest.mark.parametrize("name", [n for n in EXACT if n != "Backpropagation"])
def test_a_hidden_layer_beside_data_that_are_handed_in_is_refused_too(name):
    def loss_fn(p, y):
        return hidden(p, DATA) + jnp.mean((y - p["b"][0]) ** 2)

    learner = apical.value_and_grad(loss_fn, EXACT[name])
    with pytest.raises(ValueError, match=r"No (node|synapse) was found|needs units"):
        learner.init(KEYS[0], DEEP, DATA)


@pytest.mark.parametrize(
    ("rule", "keywords", "words"),
    [
        (rules.ForwardForward(), {"input_argnums": 0}, "No node was found"),
        (rules.PEPITA(), {"input_argnums": 0}, "No node was found"),
        (rules.ContrastiveHebbian(), {"target": lambda x: x}, "needs units"),
        (rules.ScoreFunction(), {}, "draws spikes at stochastic nodes"),
        (rules.STDP(), {}, "needs what the unit behind each synapse did"),
        (rules.EProp(), {}, "no `lax.scan` whose carry depends on the parameters"),
    ],
)
def test_rules_that_are_not_defined_say_why(rule, keywords, words):
    learner = apical.value_and_grad(likelihood, rule, **keywords)
    with pytest.raises(ValueError, match=words):
        learner.init(KEYS[0], RBM, DATA)


def test_an_operation_that_cannot_be_read_is_no_flat_loss():
    """Two layers in one operation with a derivative of its own."""

    @jax.custom_vjp
    def network(x, a, b):
        return jnp.tanh(x @ a) @ b

    def forward(x, a, b):
        return network(x, a, b), (x, a, b)

    network.defvjp(forward, lambda kept, g: jax.vjp(network.fun, *kept)[1](g))

    def loss_fn(p, x):
        return jnp.mean((network(x, p["a"], p["b"]) - x) ** 2)

    learner = apical.value_and_grad(loss_fn, rules.PredictiveCoding())
    with pytest.raises(ValueError, match=r"No node was found|several layers"):
        learner.init(KEYS[0], DEEP, DATA)
