"""The declared needs of rules, tested by interventions on the network.

| need                            | intervention                                       |
|---------------------------------|----------------------------------------------------|
| update locking                  | other weights above                                |
| weight transport                | the same, where the error of the output stays      |
| derivative of the nonlinearity  | another derivative of the same function            |
| second network                  | which weights of the state a step moves            |
| labels in every layer           | other labels, where the error of the output stays  |
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.every_rule import EVERY, KEY, TRIALS, Y

from apical import rules
from apical.rules import Rule

pytestmark = pytest.mark.grid(keep=5)


@functools.cache
def begun(name):
    """A state before and after some steps with the parameters as they are."""
    trial = TRIALS[name]
    step = trial.step()
    first = state = step.init(KEY, trial.params, *trial.args)
    for _ in range(max(1, trial.warm)):
        _, state, _ = step(trial.params, state, *trial.args)
    return first, state


def update(name, params=None, loss_fn=None, args=None):
    """The first layer's update, from one state of the rule."""
    trial = TRIALS[name]
    params = trial.params if params is None else params
    args = trial.args if args is None else args
    state = begun(name)[bool(trial.warm)]
    moved, *_ = trial.step(loss_fn)(params, state, *args)
    return np.asarray(moved[0]["w"] - params[0]["w"])


@functools.cache
def usual(name):
    return update(name)


def turned(trial, params=None):
    """Parameters with two signs of the last layer's weight turned."""
    *below, last = trial.params if params is None else params
    return [*below, {**last, "w": last["w"].at[0, 0].mul(-1).at[1, -1].mul(-1)}]


def differ(one, other):
    size = max(np.linalg.norm(one), np.linalg.norm(other))
    return bool(np.linalg.norm(one - other) > 1e-4 * size)


# Rules that move the weights in every step of a call, so other weights above matter.
MOVES_IN_A_CALL = {"IncrementalPredictiveCoding"}


def is_locked(name):
    return differ(usual(name), update(name, turned(TRIALS[name])))


@pytest.mark.parametrize("name", sorted(set(TRIALS) - MOVES_IN_A_CALL))
def test_an_update_waits_for_the_layers_above_as_declared(name):
    assert is_locked(name) == ("update locking" in TRIALS[name].rule.needs)


def given_error(out, y):
    """A loss whose gradient at the output is the same whatever the output is."""
    return jnp.sum(out * (1 + y * jnp.arange(1, out.shape[-1] + 1)), axis=-1)


# An inverse reads the activities above; a clamped output is no loss.
READ_ABOVE = {
    "TargetPropagation",
    "TargetPropagation, fixed",
    "DifferenceTargetPropagation",
    "Recirculation",
    "PredictiveCoding, amortised",
}


def transports(name, error=given_error):
    trial = TRIALS[name]
    loss_fn = trial.loss_of(error=error)
    return differ(*(update(name, p, loss_fn) for p in (None, turned(trial))))


@pytest.mark.parametrize("name", sorted(set(TRIALS) - MOVES_IN_A_CALL - READ_ABOVE))
def test_weights_above_are_transported_as_declared(name):
    """They affect an update through a transported weight, one number, or not at all."""
    needs = TRIALS[name].rule.needs
    told = {"weight transport", "global reward"} & set(needs)
    expected = bool(told) and "update locking" in needs
    assert transports(name) == expected


def odd(function):
    """The same function with another derivative."""

    @jax.custom_jvp
    def same(x):
        return function(x)

    @same.defjvp
    def tangent(primals, tangents):
        _, slope = jax.jvp(function, primals, tangents)
        return function(*primals), slope * (1 + 0.5 * jnp.cos(9 * primals[0]))

    return same


def derives(name):
    trial = TRIALS[name]
    other = trial.loss_of(odd(trial.nonlinearity))
    return differ(usual(name), update(name, loss_fn=other))


@pytest.mark.parametrize("name", TRIALS)
def test_the_derivative_of_the_nonlinearity_is_read_as_declared(name):
    declared = "derivative of the nonlinearity" in TRIALS[name].rule.needs
    assert derives(name) == declared


def trains_others(name):
    """Whether a step moves matrices of the rule's state."""
    before, after = (jax.tree.leaves(state.rule) for state in begun(name))
    pairs = zip(before, after, strict=True)
    return any(
        b.ndim > 1 and jnp.issubdtype(b.dtype, jnp.inexact) and bool(jnp.any(a != b))
        for b, a in pairs
    )


@pytest.mark.parametrize("name", TRIALS)
def test_a_second_network_is_trained_as_declared(name):
    trial = TRIALS[name]
    assert trains_others(name) == ("second network" in trial.rule.needs)


def cross_entropy(out, y):
    return -jnp.sum(y * jax.nn.log_softmax(out), axis=-1)


@pytest.mark.parametrize("name", [n for n in TRIALS if n.startswith("DirectFeed")])
def test_the_sign_of_a_cross_entropys_error_is_the_label(name):
    """Sign(softmax - onehot) = 1 - 2 y: other weights above change nothing."""
    told = "labels in every layer" in TRIALS[name].rule.needs
    assert transports(name, cross_entropy) != told


LABELLED = {
    "DirectRandomTargetProjection",
    "SyntheticGradients, conditioned",
}


@pytest.mark.parametrize("name", [*sorted(LABELLED), "FeedbackAlignment", "PEPITA"])
def test_a_label_is_heard_below_as_declared(name):
    """With a loss that does not read it."""
    trial = TRIALS[name]
    loss_fn = trial.loss_of(error=lambda out, y: jnp.sum(jnp.sin(out), axis=-1))
    data, _ = trial.args
    found = (update(name, None, loss_fn, (data, y)) for y in (Y, Y[::-1]))
    assert differ(*found) == ("labels in every layer" in trial.rule.needs)


# ------------------------------------------------------------- what holds of the list


def test_every_rule_is_tried():
    tried = {type(trial.rule) for trial in TRIALS.values()}
    in_time = {rules.STDP, rules.ThreeFactor}  # tests/rules/plasticity
    assert EVERY - tried == {rules.WindowedSyntheticGradients, *in_time}


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("SignConcordance", "weight transport"),
        ("WeightPerturbation", "update locking"),
        ("NodePerturbation", "update locking"),
        ("ForwardGradient", "update locking"),
        ("EvolutionStrategy", "update locking"),
        ("ScoreFunction", "update locking"),
        ("KolenPollack", "second network"),
        ("PredictiveCoding, learned feedback", "second network"),
        ("PredictiveCoding, amortised", "second network"),
        ("DirectFeedbackAlignment, sign", "labels in every layer"),
    ],
)
def test_what_an_audit_found_missing_is_declared(name, kept):
    assert kept in TRIALS[name].rule.needs


SOURCES = {
    "PredictiveCoding": ("millidge2022predictive",),
    "PredictiveCoding, free": ("whittington2017approximation",),
    "PredictiveCoding, errors": ("whittington2017approximation", "goemaere2025error"),
    "PredictiveCoding, random feedback": (
        "millidge2022predictive",
        "millidge2020relaxing",
    ),
    "PredictiveCoding, amortised": (
        "whittington2017approximation",
        "tschantz2023hybrid",
    ),
    "ActivationRelaxation, learned": (
        "millidge2020activation",
        "millidge2020relaxing",
    ),
    "KolenPollack": ("kolen1994backpropagation", "akrout2019deep"),
    "WeightPerturbation": ("cauwenberghs1993fast", "spall1992multivariate"),
    "DirectFeedbackAlignment": ("nokland2016direct",),
    "DirectFeedbackAlignment, sign": ("nokland2016direct", "frenkel2021learning"),
    "EquilibriumPropagation": ("scellier2017equilibrium", "laborieux2021scaling"),
}
FREE = {"prediction": "free"}
MORE = {
    "ZeroDivergence": (
        rules.PredictiveCoding(**FREE, inference=rules.ZeroDivergence()),
        ("whittington2017approximation", "song2020can"),
    ),
    "Nudge": (
        rules.PredictiveCoding(**FREE, nudge=rules.Nudge()),
        ("whittington2017approximation", "pinchetti2025benchmarking"),
    ),
    "precision": (
        rules.PredictiveCoding(precision=2.0),
        ("millidge2022predictive", "friston2005theory"),
    ),
    "Holomorphic": (
        rules.EquilibriumPropagation(estimate=rules.Holomorphic()),
        ("scellier2017equilibrium", "laborieux2022holomorphic"),
    ),
    "one-sided": (
        rules.EquilibriumPropagation(estimate="one-sided"),
        ("scellier2017equilibrium",),
    ),
}


@pytest.mark.parametrize("name", [*SOURCES, *MORE])
def test_a_citation_follows_the_parts(name):
    rule, keys = MORE[name] if name in MORE else (TRIALS[name].rule, SOURCES[name])
    found = [line.split("{")[1].split(",")[0] for line in rule.citation.split("\n@")]
    assert tuple(found) == keys


@pytest.mark.parametrize("name", TRIALS)
def test_needs_are_told_once_each(name):
    needs = TRIALS[name].rule.needs
    assert len(needs) == len(set(needs))
    assert isinstance(TRIALS[name].rule, Rule)
