"""Windows and single steps of a sequence, joined by the state, equal the whole."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import distance
from support.online_twins import BACKPROPAGATION, EPROP, SNAP, STREAMS, TIME

import apical
from apical.rules import RTRL, UORO, EProp, SnAp

RULES = {
    "EProp": (lambda: EProp(chunk=3), EPROP),
    "SnAp": (lambda: SnAp(chunk=2), SNAP),
}
CARRY = {"has_aux": True, "carry": (0, "carry")}


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


def begun(loss_fn, rule, *args):
    learner = apical.value_and_grad(loss_fn, rule, **CARRY)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*keeps no eligibility trace")
        return learner, learner.init(jax.random.key(3), *args)


def by_windows(stream, rule, lengths):
    """The gradients of windows, weighted by their lengths."""
    pieces, found = stream.pieces(*lengths), []
    carry, (x, y) = stream.start, pieces[0]
    learner, state = begun(stream.window, rule, stream.params, carry, x, y)
    call = jax.jit(learner)
    for x, y in pieces:
        credit = call(stream.params, state, carry, x, y)
        state, carry = credit.state, credit.aux["carry"]
        found.append((x.shape[1] / TIME, credit.grads))
    shares, grads = zip(*found, strict=True)
    return jax.tree.map(
        lambda *each: sum(s * g for s, g in zip(shares, each, strict=True)), *grads
    )


def by_steps(stream, rule):
    """The mean of the gradients of single steps, by a loss without a loop."""
    x, y = stream.args
    carry, total = stream.start, None
    first = stream.params, carry, x[:, 0], y[:, 0]
    learner, state = begun(stream.single, rule, *first)

    @jax.jit
    def whole(state, carry, x, y):
        def step(held, given):
            state, carry = held
            credit = learner(stream.params, state, carry, *given)
            return (credit.state, credit.aux["carry"]), credit.grads

        return jax.lax.scan(step, (state, carry), (x, y))[1]

    total = whole(state, carry, x.swapaxes(0, 1), y.swapaxes(0, 1))
    return jax.tree.map(lambda g: jnp.mean(g, 0), total)


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("rule", RULES)
def test_windows_joined_by_the_state_equal_the_whole(name, rule):
    stream, (make, paths) = STREAMS[name](), RULES[rule]
    assert distance(by_windows(stream, make(), (3, 1, 4)), stream.whole(paths)) < 1e-12


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("rule", RULES)
def test_single_steps_of_a_loss_without_a_loop_equal_the_whole(name, rule):
    stream, (make, paths) = STREAMS[name](), RULES[rule]
    assert distance(by_steps(stream, make()), stream.whole(paths)) < 1e-12


def test_traces_that_are_thrown_away_say_something_else():
    stream = STREAMS["gru"]()
    pieces = stream.pieces(4, 4)
    carry, total = stream.start, []
    first = stream.params, carry, *pieces[0]
    learner, state = begun(stream.window, EProp(), *first)
    call = jax.jit(learner)
    for x, y in pieces:  # the state of the first call, each time
        credit = call(stream.params, state, carry, x, y)
        carry = credit.aux["carry"]
        total.append(credit.grads)
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *total)
    assert distance(mean, stream.whole(EPROP)) > 0.01


def test_reset_begins_another_sequence():
    stream = STREAMS["gru"]()
    (x, y), *_ = stream.pieces(4, 4)
    args = stream.params, stream.start, x, y
    learner, state = begun(stream.window, EProp(), *args)
    params, *rest = args
    first = learner(params, state, *rest)
    again = learner(params, learner.reset(params, first.state, *rest), *rest)
    later = learner(params, first.state, *rest)
    assert distance(first.grads, again.grads) == 0
    assert distance(first.grads, later.grads) > 1e-3


@pytest.mark.parametrize("name", ["gru", "alif"])
def test_real_time_recurrent_learning_by_steps_is_backpropagation(name):
    stream = STREAMS[name]()
    assert distance(by_steps(stream, RTRL()), stream.whole(BACKPROPAGATION)) < 1e-12


def test_uoro_by_windows_is_backpropagation_on_average():
    stream = STREAMS["gru"]()
    exact = stream.whole(BACKPROPAGATION)
    pieces = stream.pieces(4, 4)
    learner, _ = begun(stream.window, UORO(), stream.params, stream.start, *pieces[0])

    @jax.jit
    @jax.vmap
    def draw(key):
        carry, total = stream.start, None
        state = learner.init(key, stream.params, carry, *pieces[0])
        for x, y in pieces:
            credit = learner(stream.params, state, carry, x, y)
            state, carry = credit.state, credit.aux["carry"]
            half = jax.tree.map(lambda g: g / 2, credit.grads)
            total = half if total is None else jax.tree.map(jnp.add, total, half)
        return total

    count = 4000
    draws = draw(jax.random.split(jax.random.key(1), count))
    for leaf, true in zip(jax.tree.leaves(draws), jax.tree.leaves(exact), strict=True):
        error = np.asarray(leaf.std(0)) / count**0.5
        off = np.abs(np.asarray(leaf.mean(0) - true))
        assert np.max(off / np.maximum(error, 1e-9)) < 5
        assert np.sqrt(np.mean((off / np.maximum(error, 1e-9)) ** 2)) < 1.6


# ---- Read-outs that continue from call to call.


def filtered(p, state, x):
    """Units with a bias, and a leaky sum of two synapses, one of them added twice."""
    v, out = state
    v = 0.9 * v + x @ p["in"] + jnp.tanh(v) @ p["rec"] + p["bias"]
    sent = jnp.tanh(v)
    drive = sent @ p["out"]
    out = out - out / 5 + 0.2 * (drive + p["shift"] - (sent**2) @ p["other"])
    out = out + 0.1 * drive
    return (v, out), out


KEYS = jax.random.split(jax.random.key(4), 8)
SHAPES = {"in": (3, 3), "rec": (3, 3), "out": (3, 2), "other": (3, 2)}
F = {
    **{
        n: jax.random.normal(k, SHAPES[n])
        for n, k in zip(SHAPES, KEYS[:4], strict=True)
    },
    **{"bias": jnp.zeros(3), "shift": jnp.zeros(2)},
}
F0 = jnp.zeros((2, 3)), jnp.zeros((2, 2))
DATA = jax.random.normal(KEYS[5], (8, 2, 3)), jax.random.normal(KEYS[6], (8, 2, 2))


def window(p, state, x, y):
    state, out = jax.lax.scan(lambda s, x: filtered(p, s, x), state, x)
    return jnp.mean((out - y) ** 2), {"carry": state}


@pytest.mark.parametrize("rule", [EProp(chunk=3), EProp("random"), SnAp()])
def test_a_leaky_readout_carries_credit_from_window_to_window(rule):
    learner = apical.value_and_grad(window, rule, batch_axes=(0, 1, 1), **CARRY)
    state = learner.init(jax.random.key(1), F, F0, *DATA)
    whole = jax.jit(learner)(F, state, F0, *DATA).grads
    call, pieces = jax.jit(learner), [slice(0, 3), slice(3, 4), slice(4, 8)]

    def joined(forgets):
        held, carry, found = state, F0, []
        for piece in pieces:
            x, y = (a[piece] for a in DATA)
            credit = call(F, held, carry, x, y)
            held, carry = credit.state, credit.aux["carry"]
            if forgets:
                held = held._replace(traces=state.traces)
            share = (piece.stop - piece.start) / 8
            found.append(jax.tree.map(lambda g, s=share: s * g, credit.grads))
        return jax.tree.map(lambda *g: sum(g), *found)

    kept, lost = joined(forgets=False), joined(forgets=True)
    for name, grad in whole.items():
        np.testing.assert_allclose(kept[name], grad, atol=1e-6)
        assert np.max(np.abs(lost[name] - grad)) > 1e-3


def test_a_readout_that_learns_its_decay_is_refused_by_name():
    def learned(p, state, x, y):
        def step(state, x):
            v, out = state
            v = 0.9 * v + x @ p["in"]
            out = jax.nn.sigmoid(p["shift"][0]) * out + jnp.tanh(v) @ p["out"]
            return (v, out), out

        state, out = jax.lax.scan(step, state, x)
        return jnp.mean((out - y) ** 2), {"carry": state}

    learner = apical.value_and_grad(learned, EProp(), batch_axes=(0, 1, 1), **CARRY)
    with pytest.raises(ValueError, match=r"read-out of the loop.*continues"):
        learner.init(jax.random.key(1), F, F0, *DATA)


# ---- Refusals.


def leaky(p, v, x):
    v = 0.9 * v + x @ p["in"]
    return v, jnp.tanh(v) @ p["out"]


P = {"in": jnp.ones((2, 3)), "out": jnp.ones((3, 1))}
V, X = jnp.zeros((4, 3)), jnp.ones((5, 4, 2))


def refused(loss_fn, carry, x, match, **keywords):
    learner = apical.value_and_grad(
        loss_fn, EProp(), **{**CARRY, "batch_axes": (0, 1), **keywords}
    )
    with pytest.raises(ValueError, match=match):
        learner.init(jax.random.key(0), P, carry, x)


def test_inputs_made_of_parameters_outside_of_the_loop_are_refused():
    def loss_fn(p, v, x):
        def step(v, drive):
            v = 0.9 * v + drive
            return v, jnp.tanh(v)

        v, out = jax.lax.scan(step, v, x @ p["in"])
        return jnp.mean((out @ p["out"]) ** 2), {"carry": v}

    refused(loss_fn, V, X, "'in' drive the units")


def test_a_carry_that_starts_no_loop_is_refused():
    def loss_fn(p, carry, x):
        v, out = jax.lax.scan(lambda v, x: leaky(p, v, x), carry["v"], x)
        return jnp.mean(out**2 * carry["gain"][:, None]), {
            "carry": {"v": v, "gain": carry["gain"]}
        }

    refused(loss_fn, {"v": V, "gain": jnp.ones(4)}, X, r"gain.*starts no loop")


def test_a_carry_of_another_shape_at_the_end_is_refused():
    def loss_fn(p, v, x):
        v, out = jax.lax.scan(lambda v, x: leaky(p, v, x), v, x)
        return jnp.mean(out**2), {"carry": v[:, :2]}

    refused(loss_fn, V, X, "could not start")


def test_a_path_that_is_not_in_aux_is_refused():
    def loss_fn(p, v, x):
        v, out = jax.lax.scan(lambda v, x: leaky(p, v, x), v, x)
        return jnp.mean(out**2), {"v": v}

    refused(loss_fn, V, X, "does not find it")


def test_traces_beyond_the_limit_are_refused_before_they_are_allocated():
    def loss_fn(p, x):
        def step(v, x):
            v = jnp.tanh(v) + x @ p["in"]
            return v, v @ p["out"]

        return jnp.mean(jax.lax.scan(step, V, x)[1] ** 2)

    rule = EProp(memory_limit=50.0)
    learner = apical.value_and_grad(loss_fn, rule, batch_axes=1)
    with pytest.raises(ValueError, match="traces would take"):
        learner.init(jax.random.key(0), P, X)
    apical.value_and_grad(loss_fn, EProp(), batch_axes=1).init(jax.random.key(0), P, X)
