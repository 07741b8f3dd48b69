"""Online rules whose learning signals are sent to the nodes inside a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import distance
from support.stepped_networks import (
    EXAMPLES,
    KEYS,
    NETWORKS,
    TIME,
    gated,
    gradients,
    learned,
    problem,
    target,
    two_layers,
    weights,
)

import apical
from apical.rules import (
    Backpropagation,
    DirectFeedbackAlignment,
    DirectRandomTargetProjection,
    EfficientTraces,
    EProp,
    LocalLosses,
    SnAp,
)

RULES = {
    "direct feedback": DirectFeedbackAlignment,
    "direct targets": DirectRandomTargetProjection,
    "local losses": lambda: LocalLosses(readout="fixed"),
}


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("leak", [0.7, 0.0])
@pytest.mark.parametrize("name", RULES)
def test_where_units_only_leak_it_is_the_rule_by_backpropagation_through_time(
    name, leak
):
    given = problem("two layers", leak=leak)
    expected = gradients(given[0], RULES[name](), *given[1:], nodes="step")
    found = gradients(given[0], EProp(RULES[name](), chunk=3), *given[1:])
    assert distance(found, expected) < 1e-12
    assert distance(gradients(given[0], EProp(), *given[1:]), expected) > 0.1
    assert all(jnp.any(g != 0) for g in jax.tree.leaves(expected))


def by_stops(w, x, y, signal):
    """The gradient of the gated unit with a signal at its state, by stops."""
    _, start = gated()

    def total(w):
        def one(h, given):
            x, back = given
            gate = jax.nn.sigmoid(x @ w["in"] + jax.lax.stop_gradient(h) @ w["rec"])
            h = (1 - gate) * h + gate * jnp.tanh(x @ w["mid"])
            return h, (jnp.sum(back * h), jax.lax.stop_gradient(h) @ w["out"])

        _, (taught, out) = jax.lax.scan(one, start(), (x, signal))
        return jnp.sum(taught) + jnp.mean((out - y) ** 2)

    return jax.grad(total)(w)


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_unit_whose_state_is_the_node_keeps_its_traces(chunk):
    loss_fn, w, x, y = problem("gated")
    rule = EProp(DirectFeedbackAlignment(), chunk=chunk)
    credit, state = learned(loss_fn, rule, w, x, y)
    (matrix,) = state.feedback.feedback.values()
    step, start = gated()
    _, out = jax.lax.scan(lambda h, x: step(w, h, x), start(), x)
    error = 2 * (out - y) / y.size
    expected = by_stops(w, x, y, error @ matrix.T)
    assert distance(credit.grads, expected) < 1e-12
    assert distance(gradients(loss_fn, rule.feedback, w, x, y), expected) > 0.1


def test_signals_are_those_at_every_step():
    loss_fn, w, x, y = problem("two layers")
    learner = apical.value_and_grad(
        loss_fn, EProp(DirectFeedbackAlignment()), batch_axes=1
    )
    state = learner.init(KEYS[4], w, x, y)
    found = learner.signals(w, state, x, y)
    error = jax.grad(lambda out: jnp.mean((out - y) ** 2))(
        learner.predict(w, state, x, y)
    )
    for name, signal in found.items():
        matrix = state.feedback.feedback[name]
        assert distance(signal.teaching, error @ matrix.T) < 1e-12
    with pytest.raises(NotImplementedError):
        other = apical.value_and_grad(loss_fn, EProp("random"), batch_axes=1)
        other.signals(w, other.init(KEYS[4], w, x, y), x, y)


# ---------------------------------------------------------------------------- DECOLLE


def decolle(w, readouts, x, y):
    """Two layers that learn by local errors at every step, with traces (numpy).

    dW = sum over t [ (G' (G z - y)) tanh'(v) * trace of the input ], and the trace of
    an input decays as the unit does. Kaiser, Mostafa & Neftci 2020, equations 2 to 9.
    """
    w, x, y = jax.tree.map(np.asarray, (w, x, y))
    grads = {name: np.zeros_like(each) for name, each in w.items()}
    v1 = z1 = np.zeros((EXAMPLES, 4))
    v2 = z2 = np.zeros((EXAMPLES, 6))
    traces = {n: np.zeros((EXAMPLES, w[n].shape[0])) for n in ("in", "rec", "mid")}
    for t in range(TIME):
        traces["in"] = 0.9 * traces["in"] + x[t]
        traces["rec"] = 0.9 * traces["rec"] + z1
        v1 = 0.9 * v1 + x[t] @ w["in"] + z1 @ w["rec"] - z1
        z1 = np.tanh(v1)
        traces["mid"] = 0.8 * traces["mid"] + z1
        v2 = 0.8 * v2 + z1 @ w["mid"] - z2
        z2 = np.tanh(v2)
        for names, z, g in (
            (("in", "rec"), z1, readouts[0]),
            (("mid",), z2, readouts[1]),
        ):
            error = 2 * (z @ g - y[t]) / y.size
            local = (error @ g.T) * (1 - z**2)
            for name in names:
                grads[name] += traces[name].T @ local
        grads["out"] += z2.T @ (2 * (z2 @ w["out"] - y[t]) / y.size)
    return grads


def test_local_losses_through_time_are_decolle():
    loss_fn, w, x, y = problem("two layers")
    credit, state = learned(loss_fn, EProp(LocalLosses(readout="fixed")), w, x, y)
    readouts = [np.asarray(g["prediction"]) for g in state.feedback.weights.values()]
    assert [g.shape for g in readouts] == [(4, 2), (6, 2)]
    assert distance(credit.grads, decolle(w, readouts, x, y)) < 1e-12
    other = [2 * g for g in readouts]
    assert distance(credit.grads, decolle(w, other, x, y)) > 0.1


# -------------------------------------------------------------------------- streaming


def windows(name, rule, lengths, **options):
    """The gradients of windows, joined by the state and weighted by their lengths."""
    step, start = NETWORKS[name](**options)
    _, w, x, y = problem(name, **options)

    def window(w, carry, x, y):
        carry, out = jax.lax.scan(lambda state, x: step(w, state, x), carry, x)
        return jnp.mean((out - y) ** 2), {"carry": carry}

    learner = apical.value_and_grad(
        window,
        rule,
        has_aux=True,
        batch_axes=(0, 1, 1),
        carry=(0, "carry"),
        target=target,
    )
    carry, at, total = start(), 0, jax.tree.map(jnp.zeros_like, w)
    state = learner.init(KEYS[4], w, carry, x[: lengths[0]], y[: lengths[0]])
    for length in lengths:
        part = slice(at, at + length)
        credit = jax.jit(learner)(w, state, carry, x[part], y[part])
        state, carry, at = credit.state, credit.aux["carry"], at + length
        total = jax.tree.map(
            lambda a, b, n=length: a + n / TIME * b, total, credit.grads
        )
    return total


# Direct targets are as large in a window as in the whole: no weighted sum of windows.
@pytest.mark.grid(keep=2)
@pytest.mark.parametrize("name", ["direct feedback", "local losses"])
@pytest.mark.parametrize("leak", [0.0, 0.7])
def test_windows_joined_by_the_state_equal_the_whole(name, leak):
    loss_fn, *args = problem("two layers", leak=leak)
    rule = EProp(RULES[name](), chunk=2)
    found = windows("two layers", rule, (3, 1, 4), leak=leak)
    assert distance(found, gradients(loss_fn, rule, *args)) < 1e-12
    cut = windows("two layers", RULES[name](), (3, 1, 4), leak=leak)
    assert distance(found, cut) > 0.01


@pytest.mark.parametrize("rule", [EProp, SnAp])
def test_windows_of_gated_units_equal_the_whole(rule):
    loss_fn, *args = problem("gated")
    taught = rule(DirectFeedbackAlignment())
    expected = gradients(loss_fn, taught, *args)
    assert distance(windows("gated", taught, (3, 1, 4)), expected) < 1e-12


# ---------------------------------------------------------------- spellings of the loop


def test_a_loop_over_windows_and_a_reversed_one_are_the_same():
    step, start = two_layers()
    loss_fn, w, x, y = problem("two layers")

    def nested(w, x, y):
        def some(state, x):
            inner = jax.checkpoint(lambda state, x: step(w, state, x))
            return jax.lax.scan(inner, state, x)

        _, out = jax.lax.scan(some, start(), x.reshape(2, 4, EXAMPLES, 3))
        return jnp.mean((out.reshape(y.shape) - y) ** 2)

    def turned(w, x, y):
        def one(state, x):
            return step(w, state, x)

        _, out = jax.lax.scan(one, start(), x[::-1], reverse=True)
        return jnp.mean((out - y[::-1]) ** 2)

    rule = EProp(DirectFeedbackAlignment(), chunk=3)
    expected, state = learned(loss_fn, rule, w, x, y)
    for other in (nested, turned):
        learner = apical.value_and_grad(other, rule, batch_axes=1)
        own = learner.init(KEYS[4], w, x, y)
        assert own.feedback.feedback.keys() == state.feedback.feedback.keys()
        found = learner(w, state, x, y)
        assert distance(found.grads, expected.grads) < 1e-12


# --------------------------------------------------------------------------- refusals


def test_a_node_in_a_loop_within_the_step_is_refused_by_name():
    def loss_fn(w, x, y):
        def step(h, x):
            h = 0.9 * h + x @ w["in"]
            deep = jax.lax.scan(lambda a, _: (jnp.tanh(a @ w["rec"]), None), x, None, 3)
            return h, h @ w["out"] + deep[0] @ w["down"]

        _, out = jax.lax.scan(step, jnp.zeros((EXAMPLES, 4)), x)
        return jnp.mean((out - y) ** 2)

    w = weights(**{"in": (3, 4), "rec": (3, 3), "out": (4, 2), "down": (3, 2)})
    _, _, x, y = problem("gated")
    with pytest.raises(ValueError, match="cannot send a signal to the node 'rec"):
        learned(loss_fn, EProp(DirectFeedbackAlignment()), w, x, y)


def test_other_rules_are_no_feedback():
    for rule in (Backpropagation(), EProp()):
        with pytest.raises(ValueError, match="one that sends signals to nodes"):
            EProp(rule)


def test_needs_are_those_of_the_feedback_without_phases():
    assert EProp(DirectFeedbackAlignment()).needs == (
        "global error",
        "derivative of the nonlinearity",
        "update locking",
        "signed error units",
    )
    assert "labels in every layer" in EProp(LocalLosses()).needs


def test_efficient_traces_take_signals_at_nodes():
    """Where both are defined alike they give the update of e-prop."""

    def loss_fn(w, x, y):
        def step(v, x):
            v = 0.8 * v + x @ w["in"]
            return v, jnp.tanh(v) @ w["out"]

        start = jnp.zeros((EXAMPLES, 4))
        return jnp.mean((jax.lax.scan(step, start, x)[1] - y) ** 2)

    _, _, x, y = problem("gated")
    w = weights(**{"in": (3, 4), "out": (4, 2)})
    direct = DirectFeedbackAlignment()
    found = gradients(
        loss_fn, EfficientTraces(direct, 3, decay=0.8, derivative_decay=0.0), w, x, y
    )
    assert distance(found, gradients(loss_fn, EProp(direct), w, x, y)) < 1e-12
    assert distance(found, gradients(loss_fn, EProp(), w, x, y)) > 0.1
