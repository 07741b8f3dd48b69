"""The nodes and the steps to which online rules send signals, and through what."""

import jax
import jax.numpy as jnp
import pytest
from support.by_hand import distance
from support.stepped_networks import (
    EXAMPLES,
    SHAPES,
    gated,
    gradients,
    learned,
    problem,
    two_layers,
    weights,
)

import apical
from apical.rules import (
    DirectFeedbackAlignment,
    DirectRandomTargetProjection,
    EProp,
    LocalLosses,
)

RULES = {
    "direct feedback": DirectFeedbackAlignment,
    "local losses": lambda: LocalLosses(readout="fixed"),
}


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


# ------------------------------------------------ weights that no signal may pass back


def delayed(packed):
    """Two layers, of which the upper one reads the lower one's state of a step ago."""

    def step(w, state, x):
        v, u = (state[:, :4], state[:, 4:]) if packed else state
        out = jnp.tanh(u) @ w["out"]
        drive = jnp.tanh(x @ w["in"] + v @ w["rec"])
        u = 0.8 * u + v @ w["mid"]
        v = 0.7 * v + drive
        return jnp.concatenate([v, u], 1) if packed else (v, u), out

    def loss_fn(w, x, y):
        start = (
            jnp.zeros((EXAMPLES, 10))
            if packed
            else (jnp.zeros((EXAMPLES, 4)), jnp.zeros((EXAMPLES, 6)))
        )
        _, out = jax.lax.scan(lambda state, x: step(w, state, x), start, x)
        return jnp.mean((out - y) ** 2)

    return loss_fn


def last_state(w, x, y):
    step, start = gated()
    h, _ = jax.lax.scan(lambda h, x: step(w, h, x), start(), x)
    return jnp.mean((h @ w["out"] - y) ** 2)


UPPER = {
    "read at the next step": (delayed(False), ("mid",)),
    "packed": (delayed(True), ("mid",)),
    "the last state": (last_state, ("out",)),
}


@pytest.mark.filterwarnings("ignore:The output has no axis of steps")
@pytest.mark.parametrize("name", UPPER)
def test_signals_pass_back_through_no_weight(name):
    """With other weights above, the update below stays the same."""
    loss_fn, above = UPPER[name]
    w = weights(**{"in": (3, 4), "rec": (4, 4), "mid": (4, 6), "out": (6, 2)})
    _, _, x, y = problem("gated")
    if name == "the last state":
        w, y = weights(**SHAPES["gated"]), y[-1]

    def below(rule):
        found = [
            gradients(
                *(loss_fn, rule, {**w, **{n: k * w[n] for n in above}}, x, y),
                batch_axes=(1, y.ndim - 2),
            )
            for k in (1, 3)
        ]
        return distance(found[0]["in"], found[1]["in"])

    assert below(EProp(DirectRandomTargetProjection(), 3)) == 0
    assert below(EProp(LocalLosses(readout="fixed"), 3)) == 0
    if name != "packed":  # there e-prop passes nothing to the lower layer
        assert below(EProp()) > 0.01


# ------------------------------------------------------- which nodes, and which steps


def spellings(name):
    """A unit with a nonlinear output, in ways that differ in what is carried."""

    def step(w, state, x):
        if name == "the output is carried":
            h, z = state
        elif name == "both, stacked":
            h, z = state[0], state[1]
        else:
            h, z = state, jnp.tanh(state)
        h = 0.9 * h + x @ w["in"] + z @ w["rec"]
        z = jnp.tanh(h)
        packed = {"the output is carried": (h, z), "both, stacked": jnp.stack([h, z])}
        return packed.get(name, h), z @ w["out"]

    start = jnp.zeros((EXAMPLES, 4))
    first = {
        "the output is carried": (start, start),
        "both, stacked": jnp.zeros((2, EXAMPLES, 4)),
    }.get(name, start)

    def loss_fn(w, x, y):
        _, out = jax.lax.scan(lambda state, x: step(w, state, x), first, x)
        return jnp.mean((out - y) ** 2)

    return loss_fn


@pytest.mark.parametrize("rule", ["direct feedback", "local losses"])
def test_the_nodes_are_the_outputs_of_units_however_states_are_carried(rule):
    w = weights(**{"in": (3, 4), "rec": (4, 4), "out": (4, 2)})
    _, _, x, y = problem("gated")
    names = "the output is carried", "both, stacked", "the state is carried"
    found = []
    for name in names:
        credit, state = learned(spellings(name), EProp(RULES[rule](), 3), w, x, y)
        assert len(jax.tree.leaves(state.feedback)) == 1
        found.append(credit.grads)
    assert distance(found[0], found[1]) < 1e-12
    assert distance(found[0], found[2]) < 1e-12


OTHER_STEPS = {
    "burn-in": lambda out: out[3:],
    "every second": lambda out: out[::2],
    "sums": lambda out: jnp.cumsum(out, 0),
}


@pytest.mark.parametrize("name", OTHER_STEPS)
def test_an_output_with_other_steps_is_refused(name):
    step, start = two_layers()

    def loss_fn(w, x, y):
        _, out = jax.lax.scan(lambda state, x: step(w, state, x), start(), x)
        out = OTHER_STEPS[name](out)
        return jnp.mean((out - y[: len(out)]) ** 2)

    _, w, x, y = problem("two layers")
    with pytest.raises(ValueError, match="at the same step"):
        learned(loss_fn, EProp(DirectFeedbackAlignment()), w, x, y)


def test_an_output_without_steps_is_warned_of():
    _, w, x, y = problem("gated")
    with pytest.warns(UserWarning, match="The output has no axis of steps"):
        learned(
            last_state, EProp(DirectFeedbackAlignment()), w, x, y[-1], batch_axes=(1, 0)
        )


def test_marked_nodes_alone_can_be_taught():
    def loss_fn(w, x, y):
        def step(h, x):
            h = 0.9 * h + x @ w["in"] + jnp.tanh(h) @ w["rec"]
            return h, apical.node(jnp.tanh(h), "units") @ w["out"]

        start = jnp.zeros((EXAMPLES, 4))
        return jnp.mean((jax.lax.scan(step, start, x)[1] - y) ** 2)

    w = weights(**{"in": (3, 4), "rec": (4, 4), "out": (4, 2)})
    _, _, x, y = problem("gated")
    rule = EProp(DirectFeedbackAlignment())
    credit, state = learned(loss_fn, rule, w, x, y, nodes="marked")
    assert list(state.feedback.feedback) == ["units"]
    assert all(jnp.all(g != 0) for g in jax.tree.leaves(credit.grads))
