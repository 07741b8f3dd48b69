"""Online rules equal the formulas of their papers, written in numpy."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import distance
from support.online_twins import CASES
from support.traces_by_hand import d_rtrl, ottt, rflo

import apical
from apical.rules import OTTT, RFLO, UORO, EProp


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


def gradient(rule, name, feedback=None):
    """The gradients of a case, with this feedback weight of the read-out."""
    case = CASES[name]()
    learner = apical.value_and_grad(case.loss_fn, rule, batch_axes=case.batch_axes)
    state = learner.init(jax.random.key(5), case.params, *case.args)
    if feedback is not None:
        drawn = {**state.feedback.feedback, "out": feedback}
        state = state._replace(feedback=state.feedback._replace(feedback=drawn))
    return jax.jit(learner)(case.params, state, *case.args).grads


def drawn(name):
    out = CASES[name]().params["out"]
    return jax.random.normal(jax.random.key(9), out.shape, out.dtype)


def test_random_feedback_of_leaky_units_is_rflo():
    other = drawn("leaky_rate")
    found = gradient(RFLO(), "leaky_rate", other)
    assert distance(found, rflo(CASES["leaky_rate"](), other)) < 1e-12
    assert distance(found, gradient(EProp("random"), "leaky_rate", other)) == 0
    assert distance(found, rflo(CASES["leaky_rate"]())) > 0.01


def test_filtered_inputs_are_d_rtrl_of_leaky_units():
    other = drawn("leaky")
    found = gradient(EProp("random"), "leaky", other)
    assert distance(found, d_rtrl(CASES["leaky"](), other)) < 1e-12
    symmetric = gradient(EProp(), "leaky")
    assert distance(symmetric, d_rtrl(CASES["leaky"]())) < 1e-12
    assert distance(found, symmetric) > 0.01


def test_spiking_layers_learn_by_ottt():
    found = gradient(OTTT(), "stacked_lif")
    assert distance(found, ottt(CASES["stacked_lif"]())) < 1e-12


@pytest.mark.parametrize(("rule", "name"), [(OTTT, "alif"), (RFLO, "linen_gru")])
def test_units_of_other_kinds_are_refused(rule, name):
    case = CASES[name]()
    learner = apical.value_and_grad(case.loss_fn, rule(), batch_axes=case.batch_axes)
    with pytest.raises(ValueError, match="one constant"):
        learner.init(jax.random.key(0), case.params, *case.args)


# ---- Layers that are applied to all steps before the loop.

KEYS = jax.random.split(jax.random.key(0), 5)


def weights():
    shapes = {"in": (3, 4), "rec": (4, 4), "out": (4, 2)}
    pairs = zip(KEYS[:3], shapes.items(), strict=True)
    return {n: jax.random.normal(k, s) / 2 for k, (n, s) in pairs}


def folded(p, x, y, before):
    """A leaky layer whose input product is before the loop, or in it."""

    def step(h, given):
        drive = given if before else given @ p["in"]
        h = 0.8 * h + drive + jnp.tanh(h) @ p["rec"] * jax.nn.sigmoid(h)
        return h, jnp.tanh(h) @ p["out"]

    x = x @ p["in"] if before else x
    out = jax.lax.scan(step, jnp.zeros((x.shape[1], 4)), x)[1]
    return jnp.mean((out - y) ** 2)


@pytest.mark.parametrize("chunk", [1, 3, 32])
def test_a_layer_folded_over_time_learns_as_one_in_the_loop(chunk):
    x, y = jax.random.normal(KEYS[3], (7, 2, 3)), jnp.zeros((7, 2, 2))
    found = []
    for before in (True, False):

        def loss_fn(p, x, y, before=before):
            return folded(p, x, y, before)

        learner = apical.value_and_grad(loss_fn, EProp(chunk=chunk), batch_axes=1)
        state = learner.init(jax.random.key(0), weights(), x, y)
        found.append(jax.jit(learner)(weights(), state, x, y).grads)
    assert distance(*found) < 1e-12
    exact = jax.grad(lambda p: folded(p, x, y, before=True))(weights())
    assert distance(found[0], exact) > 0.01


# ---- UORO.


def test_the_mean_of_uoro_is_the_gradient_also_of_layers_before_the_loop():
    x, y = jax.random.normal(KEYS[3], (4, 1, 3)), jnp.zeros((4, 1, 2))

    def loss_fn(p, x, y):
        return folded({**p, "rec": p["rec"] / 2}, x, y, before=True)

    learner = apical.value_and_grad(loss_fn, UORO(), batch_axes=1)

    @jax.jit
    @jax.vmap
    def draw(key):
        return learner(weights(), learner.init(key, weights(), x, y), x, y).grads

    count = 4000
    draws, exact = (
        draw(jax.random.split(KEYS[4], count)),
        jax.grad(loss_fn)(weights(), x, y),
    )
    for name, true in exact.items():
        found = np.asarray(draws[name])
        error = np.maximum(found.std(0) / count**0.5, 1e-12)
        off = np.abs(found.mean(0) - np.asarray(true)) / error
        assert np.max(off) < 5
        assert np.sqrt(np.mean(off**2)) < 1.6
    # The test can fail: the error of a mean of so many is below the gradient.
    size = np.linalg.norm(np.asarray(exact["in"]))
    assert np.linalg.norm(np.asarray(draws["in"]).std(0)) / count**0.5 < size / 4


# ---- Feedback.


@pytest.mark.parametrize(
    "feedback",
    [
        *(apical.rules.Backpropagation(), EProp(), 0.5),
        apical.rules.NodePerturbation(),
    ],
)
def test_rules_without_a_backward_path_of_their_own_are_refused(feedback):
    with pytest.raises(ValueError, match=type(feedback).__name__):
        EProp(feedback)


@pytest.mark.parametrize(
    "feedback", [apical.rules.SignConcordance(), apical.rules.WeightMirror()]
)
def test_other_backward_paths_change_what_is_below_the_readout_alone(feedback):
    case = CASES["gru"]()
    found = []
    for rule in (EProp(), EProp(feedback)):
        learner = apical.value_and_grad(case.loss_fn, rule, batch_axes=case.batch_axes)
        state = learner.init(jax.random.key(5), case.params, *case.args)
        found.append(jax.jit(learner)(case.params, state, *case.args).grads)
    assert distance(found[0]["out"], found[1]["out"]) < 1e-12
    assert distance(found[0]["rec"], found[1]["rec"]) > 0.01


# ---- What is listed.


def test_a_parameter_without_a_trace_is_warned_of_by_name():
    case = CASES["embedded"]()
    learner = apical.value_and_grad(case.loss_fn, EProp(), batch_axes=case.batch_axes)
    with pytest.warns(UserWarning, match="no eligibility trace for 'table'"):
        learner.init(jax.random.key(0), case.params, *case.args)


def test_parameters_with_traces_are_not_warned_of():
    case = CASES["linen_gru"]()
    learner = apical.value_and_grad(case.loss_fn, EProp(), batch_axes=case.batch_axes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.init(jax.random.key(0), case.params, *case.args)
