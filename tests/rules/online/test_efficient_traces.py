"""Efficient traces equal their source, and e-prop where its traces have factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.braintrace_cells import ARGS, GOLDENS
from support.by_hand import distance
from support.efficient_by_hand import STEPS, efficient
from support.influence import CELLS
from support.online_rules import apart, both, gradient_of
from support.online_twins import CASES, STREAMS, TRUNCATED

import apical
from apical.rules import EfficientTraces, EProp

CARRY = {"has_aux": True, "carry": (0, "carry")}


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


# ---- The source.


@pytest.mark.filterwarnings("ignore:.* keeps no eligibility trace")
@pytest.mark.parametrize("name", GOLDENS)
def test_the_gradients_are_those_of_braintrace_in_32_bits(name):
    golden = GOLDENS[name]
    a, b = golden.decays
    rule = EfficientTraces(decay=a, derivative_decay=b, chunk=2)
    learner = apical.value_and_grad(golden.loss_fn, rule, batch_axes=1)
    with jax.enable_x64(False):
        state = learner.init(jax.random.key(0), golden.params, *ARGS)
        found = jax.jit(learner)(golden.params, state, *ARGS).grads
    found = {n: found[n] for n in golden.expected}  # it gives none of others
    assert distance(found, golden.expected) < 1e-5
    assert distance(jax.tree.map(lambda g: 1.001 * g, found), golden.expected) > 5e-4


@pytest.mark.parametrize("name", STEPS)
def test_the_gradients_are_those_of_the_published_loop_in_numpy(name):
    cell = CELLS[name]()
    rule = EfficientTraces(decay=0.8, derivative_decay=0.6, chunk=3)
    found = gradient_of(rule, cell)
    assert distance(found, efficient(cell, STEPS[name], 0.8, 0.6)) < 1e-12
    for a, b in ((0.6, 0.8), (0.8, 0.8)):
        assert distance(found, efficient(cell, STEPS[name], a, b)) > 0.01


@pytest.mark.grid(keep=6)
@pytest.mark.parametrize("name", CASES)
def test_without_a_past_each_step_learns_by_itself(name):
    rule = EfficientTraces(decay=0.0, chunk=3)
    found = apart(*both(rule, CASES[name](), TRUNCATED))
    found.pop("['start']", None)  # a first state learns along its units
    assert max(found.values()) < 1e-12, found


# ---- E-prop.


def relation(decay, derivative_decay, last_step=False):
    """The gradients of e-prop and of efficient traces on leaky units, decay 0.8."""
    case = CASES["leaky"]()

    def loss_fn(p, x, y):
        def step(u, x):
            u = 0.8 * u + x @ p["in"] + p["b"]
            return u, jnp.tanh(u) @ p["out"]

        start = jnp.zeros((len(x), 5))
        out = jax.lax.scan(step, start, jnp.swapaxes(x, 0, 1))[1]
        out, y = (out[-1], y[:, -1]) if last_step else (out, jnp.swapaxes(y, 0, 1))
        return jnp.mean((out - y) ** 2)

    grads = []
    for rule in (
        EProp(),
        EfficientTraces(decay=decay, derivative_decay=derivative_decay, chunk=3),
    ):
        learner = apical.value_and_grad(loss_fn, rule)
        state = learner.init(jax.random.key(0), case.params, *case.args)
        grads.append(jax.jit(learner)(case.params, state, *case.args).grads)
    return grads


def test_weights_learn_as_by_eprop_where_its_traces_have_factors():
    eprop, found = relation(0.8, 0.0)
    for name in ("in", "out"):
        assert distance(found[name], eprop[name]) < 1e-12
    assert distance(found["b"], eprop["b"]) > 0.1  # a bias has no filtered input
    _, other = relation(0.7, 0.0)
    assert distance(other["in"], eprop["in"]) > 0.01


def test_the_share_of_a_step_with_other_decays_is_in_closed_form():
    d, a, b, steps = 0.8, 0.8, 0.6, 8
    eprop, found = relation(a, b, last_step=True)
    mean = (1 - b) * (1 - (b * d) ** steps) / ((1 - b * d) * (1 - b**steps))
    assert distance(found["in"], mean * eprop["in"]) < 1e-12
    bias = mean * (1 - d) / (1 - d**steps)
    assert distance(found["b"], bias * eprop["b"]) < 1e-12
    eprop, found = relation(d, d, last_step=True)
    assert distance(found["in"], (1 + d**steps) / (1 + d) * eprop["in"]) < 1e-12


def test_it_is_neither_eprop_nor_backpropagation_nor_one_step_of_it():
    case = CASES["gru"]()
    found = gradient_of(EfficientTraces(decay=0.7), case)
    others = [gradient_of(EProp(), case)]
    others += [gradient_of(EfficientTraces(decay=0.0), case)]
    others += [jax.jit(jax.grad(case.loss_fn))(case.params, *case.args)]
    assert all(distance(found["rec"], other["rec"]) > 0.05 for other in others)
    assert all(distance(found["out"], other["out"]) < 1e-12 for other in others)


# ---- Layers, weights with several uses, and memory.


def folded(p, x, y, before, tied):
    """A leaky layer whose input product is before the loop or in it."""

    def step(h, given):
        drive = given if before else given @ p["in"]
        h = 0.8 * h + drive + jnp.tanh(h) @ p["rec"] * jax.nn.sigmoid(h)
        out = p["rec"] if tied else p["other"]
        return h, jnp.tanh(h) @ out

    given = x @ p["in"] if before else x
    out = jax.lax.scan(step, jnp.zeros((x.shape[1], 4)), given)[1]
    return jnp.mean((out - y) ** 2)


def of_folded(before, tied, chunk):
    keys = jax.random.split(jax.random.key(0), 4)
    p = {"in": jax.random.normal(keys[0], (3, 4)), "rec": jnp.zeros((4, 4))}
    p["rec"] = jax.random.normal(keys[1], (4, 4)) / 2
    p |= {} if tied else {"other": p["rec"]}
    x, y = jax.random.normal(keys[2], (7, 2, 3)), jnp.zeros((7, 2, 4))

    def loss_fn(p, x, y):
        return folded(p, x, y, before, tied)

    rule = EfficientTraces(decay=0.6, derivative_decay=0.3, chunk=chunk)
    learner = apical.value_and_grad(loss_fn, rule, batch_axes=1)
    state = learner.init(jax.random.key(0), p, x, y)
    return jax.jit(learner)(p, state, x, y).grads


def test_a_layer_folded_over_time_learns_as_one_in_the_loop():
    inside = of_folded(before=False, tied=False, chunk=3)
    for chunk in (1, 32):
        found = of_folded(before=True, tied=False, chunk=chunk)
        assert distance(found, inside) < 1e-12


def test_a_weight_with_a_second_use_learns_from_both():
    apart = of_folded(before=False, tied=False, chunk=3)
    tied = of_folded(before=False, tied=True, chunk=3)
    assert distance(tied["rec"], apart["rec"] + apart["other"]) < 1e-12
    assert distance(tied["rec"], apart["rec"]) > 0.01
    assert distance(tied["in"], apart["in"]) < 1e-12


def begun(name, rule, pieces):
    stream = STREAMS[name]()
    learner = apical.value_and_grad(stream.window, rule, **CARRY)
    given = stream.pieces(*pieces)
    state = learner.init(jax.random.key(3), stream.params, stream.start, *given[0])
    return stream, learner, state


def test_traces_take_the_memory_of_inputs_and_units():
    stream, _, state = begun("lstm", EfficientTraces(), (8,))
    (found,), weights = state.traces, stream.params
    examples, inputs = stream.args[0].shape[0], weights["in"].shape[0]
    units, gates = len(weights["rec"]), weights["rec"].shape[1]
    sizes = [leaf.size for leaf in jax.tree.leaves(found)]
    # Inputs and states, and the drive of each gate by "in", "rec" and "b".
    assert sum(sizes) == examples * (inputs + units + 3 * gates) + 1
    full = begun("lstm", EProp(), (8,))[2]
    expected = examples * gates * (inputs + units + 1)
    assert sum(leaf.size for leaf in jax.tree.leaves(full.traces)) == expected


# ---- Windows.


@pytest.mark.parametrize("name", ["gru", "lstm", "alif"])
def test_windows_and_single_steps_joined_by_the_state_equal_the_whole(name):
    rule = EfficientTraces(decay=0.7, derivative_decay=0.5, chunk=3)
    joined = []
    for pieces in ((8,), (3, 1, 4), (1,) * 8):
        stream, learner, state = begun(name, rule, pieces)
        call, carry, found = jax.jit(learner), stream.start, []
        for x, y in stream.pieces(*pieces):
            credit = call(stream.params, state, carry, x, y)
            state, carry = credit.state, credit.aux["carry"]
            share = x.shape[1] / 8
            found.append(jax.tree.map(lambda g, s=share: s * g, credit.grads))
        joined.append(jax.tree.map(lambda *each: sum(each), *found))
    whole, windows, steps = joined
    assert distance(windows, whole) < 1e-12
    assert distance(steps, whole) < 1e-12


def test_a_readout_that_continues_is_refused_by_name():
    with pytest.raises(ValueError, match="not a product of two factors"):
        begun("lif_with_leaky_readout", EfficientTraces(), (8,))


# ---- Decays.


@pytest.mark.parametrize("value", [1.0, -0.1, float("nan"), "0.9"])
@pytest.mark.parametrize("name", ["decay", "derivative_decay"])
def test_decays_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a number"):
        EfficientTraces(**{name: value})


def test_decays_are_leaves_that_can_be_swept():
    case = CASES["leaky"]()

    @jax.jit
    @jax.vmap
    def swept(decay):
        rule = EfficientTraces(decay=decay)
        learner = apical.value_and_grad(case.loss_fn, rule)
        state = learner.init(jax.random.key(0), case.params, *case.args)
        return learner(case.params, state, *case.args).grads

    found = swept(jnp.array([0.3, 0.9]))
    for i, decay in enumerate((0.3, 0.9)):
        one = jax.tree.map(lambda g, i=i: np.asarray(g[i]), found)
        assert distance(one, gradient_of(EfficientTraces(decay=decay), case)) < 1e-12
