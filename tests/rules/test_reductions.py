"""With a loss that is a sum, the update is a multiple of that of the mean."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.broken_rules import TRUE, broken
from support.by_hand import array, assert_close, batch, distance, layers, loss_fn
from support.settled_by_hand import second

import apical
from apical.rules import (
    CLAPP,
    PEPITA,
    ActivationRelaxation,
    Concrete,
    ContrastiveHebbian,
    CoupledLearning,
    DifferenceReconstruction,
    DifferenceTargetPropagation,
    DualPropagation,
    EquilibriumPropagation,
    EvolutionStrategy,
    ForwardForward,
    ForwardGradient,
    GeneRec,
    Holomorphic,
    LocalLosses,
    NodePerturbation,
    Recirculation,
    ScoreFunction,
    StraightThrough,
    SyntheticGradients,
    TargetPropagation,
    WeightPerturbation,
    WindowedSyntheticGradients,
)

pytestmark = pytest.mark.grid(keep=7)

KEY, EXAMPLES = jax.random.key(0), 4


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def summed(loss_fn):
    return lambda params, x, *args: len(x) * loss_fn(params, x, *args)


def calls(rule, loss_fn, params, data, **keywords):
    """The updates of two calls, the second from the state that the first returned."""
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    call = jax.jit(lambda state: learner(params, state, *data))
    first = call(learner.init(KEY, params, *data))
    return first.grads, call(first.state).grads


def assert_scaled(whole, mean):
    """Each update of a sum is that of the mean, once for each example."""
    for found, share in zip(whole, mean, strict=True):
        assert_close(found, jax.tree.map(lambda g: EXAMPLES * g, share), 1e-8, 1e-12)
        assert distance(found, share) > 1  # neither is zero


# -------------------------------------------------------------------- rules on a chain


def spiking(params, x, y):
    for each in params[:-1]:
        x = apical.bernoulli(jax.nn.sigmoid(x @ each["w"] + each["b"]))
    return 0.5 * jnp.sum((x @ params[-1]["w"] - y) ** 2) / len(x)


def noisy_pair(key, x, y):
    return x + 0.1 * jax.random.normal(key, x.shape, x.dtype), y


SGD = optax.sgd(0.1)  # which learns less from errors that are smaller, as Adam does not
RULES = {
    "equilibrium, one-sided": EquilibriumPropagation(estimate="one-sided"),
    "equilibrium, holomorphic": EquilibriumPropagation(estimate=Holomorphic(3)),
    "contrastive Hebbian": ContrastiveHebbian(),
    "coupled": CoupledLearning(),
    "GeneRec": GeneRec(),
    "dual": DualPropagation(),
    "relaxation": ActivationRelaxation(),
    "relaxation, unsettled": ActivationRelaxation(3, 0.5),
    "recirculation": Recirculation(),
    "targets": TargetPropagation(optimizer=SGD),
    "targets, difference": DifferenceTargetPropagation(optimizer=SGD),
    "targets, difference reconstruction": DifferenceTargetPropagation(
        training=DifferenceReconstruction(), optimizer=SGD
    ),
    "targets, from nodes": DifferenceTargetPropagation(
        first_target="nodes", optimizer=SGD
    ),
    "synthetic": SyntheticGradients(optimizer=SGD),
    "synthetic, conditioned": SyntheticGradients(optimizer=SGD, conditioned=True),
    "local losses": LocalLosses(objective="both"),
    "forward-forward": ForwardForward(overlay=jnp.add),
    "PEPITA": PEPITA(scale=1.0),
    "CLAPP": CLAPP(noisy_pair),
    "weights": WeightPerturbation(),
    "nodes": NodePerturbation(),
    "nodes, drive": NodePerturbation(at="drive"),
    "forward gradient": ForwardGradient(),
    "forward gradient, activities": ForwardGradient("activities"),
    "evolution": EvolutionStrategy(),
    "score": ScoreFunction(),
    "straight through": StraightThrough(),
    "concrete": Concrete(),
}
SPIKING = ("score", "straight through", "concrete")


def on_a_chain(rule, loss_fn=loss_fn):
    params, (x, _) = layers(5, 7, 6, 5), batch(EXAMPLES, 5, 5)
    data = x, jax.nn.one_hot(jnp.array([0, 1, 4, 2]), 5)
    keywords = {"target": second, "input_argnums": 0}
    mean = calls(rule, loss_fn, params, data, **keywords)
    return calls(rule, summed(loss_fn), params, data, reduction="sum", **keywords), mean


@pytest.mark.parametrize("name", RULES)
def test_a_sum_over_examples_has_as_many_times_the_update_of_the_mean(name):
    assert_scaled(*on_a_chain(RULES[name], spiking if name in SPIKING else loss_fn))


def test_a_rule_that_always_takes_the_batch_size_would_be_seen():
    def credit(self, circuit, params, state, args):
        found = TRUE(self, circuit, params, state, args)
        share = circuit.scale / circuit.batch_size
        return found._replace(grads=jax.tree.map(lambda g: share * g, found.grads))

    assert_scaled(*on_a_chain(broken()))
    with pytest.raises(AssertionError):
        assert_scaled(*on_a_chain(broken(credit=credit)))


# ------------------------------------------------------------------ rules in a window


def test_in_windows_of_a_sequence_too():
    def window(params, h, x):
        def step(h, x):
            h = jnp.tanh(h @ params["u"] + x @ params["in"])
            return h, 0.5 * jnp.sum(h**2) / len(h)

        h, losses = jax.lax.scan(step, h, x)
        return jnp.sum(losses), h

    def total(params, h, x):
        loss, after = window(params, h, x)
        return len(h) * loss, after

    draw = np.random.default_rng(0)
    params = {"u": array(draw, 3, 3), "in": array(draw, 2, 3)}
    data = array(draw, EXAMPLES, 3), array(draw, 2, EXAMPLES, 2)
    keywords = {"has_aux": True, "batch_axes": (0, 1), "carry": (0, ())}
    rule = WindowedSyntheticGradients(optimizer=SGD)
    mean = calls(rule, window, params, data, **keywords)
    whole = calls(rule, total, params, data, reduction="sum", **keywords)
    assert_scaled(whole, mean)
    assert distance(mean[1], mean[0]) > 1e-3  # what the critic has learned counts
