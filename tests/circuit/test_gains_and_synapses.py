"""A weighted layer is a synapse in every spelling, and a gain is none.

Each spelling of the zoo stands between two ordinary layers. Its feedback is compared
with an oracle that holds the layer apart by `stop_gradient`, and the check of the
backward path is tried with that one synapse left out.
"""

import functools
from dataclasses import replace

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from support.laws import (
    assert_same,
    distance,
    drawn,
    normal,
    row,
    stacked,
    through,
    traced,
)
from support.zoo._spellings import GAINS, SYNAPSES

import apical
from apical.circuit._evaluate._weight_transport_check import weight_reads
from apical.circuit._rule_requirements import require_feedback
from apical.rules import FeedbackAlignment

X, Y = normal(1, 4, 5), normal(2, 4, 3)


def layered(spelling, shape, seed=3):
    """The loss `loss_fn(params, x, y, dot)` of a net with the spelling in its middle.

    `dot(name, operation, h, w)` applies each of its layers.
    """
    struct = jax.ShapeDtypeStruct
    middle = struct((4, 6), jnp.float32), struct(shape, jnp.float32)
    width = jax.eval_shape(spelling, *middle).shape[1]
    params = {"below": normal(seed, 5, 6, size=0.5), "w": normal(seed + 1, *shape)}
    params |= {"above": normal(seed + 2, width, 3, size=0.5)}

    def loss_fn(params, x, y, dot=lambda name, operation, h, w: operation(h, w)):
        h = jnp.tanh(x @ params["below"])
        h = jnp.tanh(dot("w", spelling, h, params["w"]))
        out = dot("above", jnp.matmul, h, params["above"])
        return 0.5 * jnp.sum((out - y) ** 2) / len(x)

    return loss_fn, params


@functools.cache
def problem(table, name):
    loss_fn, params = layered(*{"synapse": SYNAPSES, "gain": GAINS}[table][name])
    return traced(lambda params, x, y: loss_fn(params, x, y), params, X, Y), loss_fn


def by_oracle(loss_fn, params, copies, synapses):
    def dot(name, operation, h, w):
        if name in synapses:
            return through(operation, h, w, copies[name])
        return operation(h, w)

    return jax.grad(loss_fn)(params, X, Y, dot)


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", SYNAPSES)
def test_a_synapse_in_disguise_has_a_second_copy(name):
    found, loss_fn = problem("synapse", name)
    params, copy = found.params, drawn(found.params)
    zeros = jax.tree.map(jnp.zeros_like, copy)
    one_zero = {"w": zeros["w"], **{k: copy[k] for k in ("below", "above")}}

    @jax.jit
    def compute(copies):
        def feedback(copy):
            return jax.grad(lambda p: found.run(p, (X, Y), feedback=copy).loss)(params)

        oracle = by_oracle(loss_fn, params, copy, ("w", "above"))
        return jax.vmap(feedback)(copies), oracle, jax.grad(loss_fn)(params, X, Y)

    found_by, oracle, own = compute(stacked(params, copy, zeros, one_zero))
    assert any(s.name == "w" for s in found.circuit.synapses)
    assert_same(row(0, found_by), own, 1e-4)
    assert_same(row(1, found_by), oracle, 1e-4)
    assert distance(row(1, found_by)["below"], own["below"]) > 1e-2
    silent = row(2, found_by)  # only the read-out learns
    assert not np.any(silent["below"]) and not np.any(silent["w"])
    assert_same(silent["above"], own["above"], 1e-4)
    assert distance(row(3, found_by)["below"], row(1, found_by)["below"]) > 1e-2


@pytest.mark.parametrize("name", GAINS)
def test_a_gain_is_passed_as_it_is(name):
    found, loss_fn = problem("gain", name)
    params, copy = found.params, drawn(found.params)

    @jax.jit
    def compute():
        feedback = jax.grad(lambda p: found.run(p, (X, Y), feedback=copy).loss)(params)
        return feedback, by_oracle(loss_fn, params, copy, ("above",))

    assert_same(*compute(), 1e-4)
    assert {s.name for s in found.circuit.synapses} == {"below", "above"}
    assert "w" in {path for path, _ in found.circuit.gains}


def test_gains_are_replaced_where_that_is_asked_for():
    for name in ("layer_norm", "layer_norm_of_flax", "quotient", "einsum_scale"):
        found, _ = problem("gain", name)
        copy = {**found.params, "w": jnp.zeros_like(found.params["w"])}
        if name == "quotient":  # h / (2 + w): what is divided by grows without bound
            copy["w"] = jnp.full_like(copy["w"], 1e9)

        def loss(params, copy=copy, found=found):
            return found.run(params, (X, Y), feedback=copy, gains=True).loss

        assert np.allclose(jax.grad(loss)(found.params)["below"], 0, atol=1e-7)


# --------------------------------------------------------------- the backward path


@pytest.mark.parametrize("name", SYNAPSES)
def test_the_true_weight_is_seen_where_a_synapse_is_left_out(name):
    circuit = problem("synapse", name)[0].circuit
    count = len(circuit.leaves.learned)
    structure = circuit.structure
    flow, synapses, gains = structure.flow, structure.weighted_ops, structure.gain_ops
    assert weight_reads(flow, synapses, gains, count) == []
    path = circuit.leaves.names.index("w")
    kept = [m for m in synapses if path not in m.leaves]
    reads = weight_reads(flow, kept, gains, count)
    assert path in set().union(*(read.leaves for read in reads))
    assert all("_spellings.py" in read.where for read in reads if path in read.leaves)


def test_a_true_weight_in_the_backward_path_is_refused_by_name():
    """As if the product had been taken for a gain, and that not been listed."""
    found, _ = problem("synapse", "product_sum")
    circuit = apical.trace(found.loss_fn)(found.params, X, Y)
    synapses = circuit.structure.weighted_ops
    kept = [m for m in synapses if m.op.name != "mul"]
    with pytest.raises(ValueError, match=r"true 'w' at .*_spellings.py.*`mul`"):
        require_feedback(replace(circuit.structure, weighted_ops=kept))


def decayed(scan):
    """A leaky sum over time with a learned decay, by one of JAX's two scans."""

    def loss_fn(params, x, y):
        u = jnp.tanh(x[:, None] * jnp.ones((1, 6, 1)) @ params["below"])
        rate = jnp.broadcast_to(jax.nn.sigmoid(params["w"]), u.shape)

        def together(a, b):
            return a[0] * b[0], b[0] * a[1] + b[1]

        def step(state, slices):
            state = slices[0] * state + slices[1]
            return state, state

        if scan == "associative":
            states = jax.lax.associative_scan(together, (rate, u), axis=1)[1]
        else:
            series = jnp.moveaxis(rate, 1, 0), jnp.moveaxis(u, 1, 0)
            states = jnp.moveaxis(jax.lax.scan(step, 0 * u[:, 0], series)[1], 0, 1)
        return jnp.mean((jnp.tanh(states).mean(1) @ params["above"] - y) ** 2)

    return loss_fn


def test_a_decay_in_an_associative_scan_is_refused_and_in_a_scan_a_gain():
    params = {"below": normal(1, 5, 6), "w": normal(2, 6), "above": normal(3, 6, 3)}
    with pytest.raises(ValueError, match=r"test_gains_and_synapses.*`lax.scan`"):
        apical.trace(decayed("associative"))(params, X, Y).require_feedback()
    circuit = apical.trace(decayed("sequential"))(params, X, Y)
    circuit.require_feedback()
    assert [path for path, _ in circuit.gains] == ["w"]


MASKS = (normal(30, 4, 6, 3) > 0).astype(jnp.float32)
MET = {
    "mask": lambda h, w: w[0] * MASKS,
    "chosen": lambda h, w: jnp.where(MASKS > 0, w[0], w[1]),
    "noise": lambda h, w: jnp.tanh(w[0] + 0.1 * MASKS),
    "moved": lambda h, w: w[0] + 0.1 * h[:, :, None],
    "gated": lambda h, w: jnp.where((h.sum(1) > 0)[:, None, None], w[0], w[1]),
    "slopes": lambda h, w: jnp.where(h[:, :, None] > 0, w[0], w[1]),
    "rows": lambda h, w: w[(h[:, 0] > 0).astype(int)],
}


@pytest.mark.parametrize("name", MET)
def test_a_weight_that_met_data_is_refused_in_a_sum_of_products(name):
    def loss_fn(params, x, y, masks):
        h = jnp.tanh(x @ params["below"])
        met = MET[name](h, params["w"]) + 0 * masks  # so that it is no constant
        return jnp.mean(((h[:, :, None] * met).sum(1) - y) ** 2)

    params = {"below": normal(1, 5, 6), "w": normal(2, 2, 6, 3)}
    learner = apical.value_and_grad(loss_fn, FeedbackAlignment())
    with pytest.raises(ValueError, match=r"'w' cannot be .*test_gains_and_synapses"):
        learner.init(jax.random.key(0), params, X, Y, MASKS)


RECTIFIERS = {
    "where": lambda z, s: jnp.where(z >= 0, z, s * z),
    "leaky_relu": jax.nn.leaky_relu,
}


@pytest.mark.parametrize("name", RECTIFIERS)
def test_a_learned_slope_behind_a_learned_scale_is_a_gain(name):
    def loss_fn(params, x, y):
        h = RECTIFIERS[name]((x @ params["below"]) * params["scale"], params["slope"])
        return jnp.mean((h @ params["above"] - y) ** 2)

    params = {"below": normal(1, 5, 6), "scale": jnp.ones(6), "slope": jnp.array(0.2)}
    params |= {"above": normal(3, 6, 3)}
    circuit = apical.trace(loss_fn)(params, X, Y)
    circuit.require_feedback()
    assert [s.name for s in circuit.synapses] == ["below", "above"]
    assert {path for path, _ in circuit.gains} == {"scale", "slope"}


@pytest.mark.parametrize("function", [jax.nn.silu, jax.nn.gelu, jnp.square, jnp.tanh])
def test_a_product_that_fans_out_may_be_read_twice(function):
    def loss_fn(params, x, y):
        h = jnp.tanh(x @ params["below"])[:, :, None] * params["w"]
        return jnp.mean((function(h).sum(1) - y) ** 2)

    params = {"below": normal(1, 5, 6), "w": normal(2, 6, 3)}
    circuit = apical.trace(loss_fn)(params, X, Y)
    circuit.require_feedback()
    assert [s.name for s in circuit.synapses] == ["below", "w"]
    zeros = jax.tree.map(jnp.zeros_like, params)
    silent = jax.grad(lambda p: circuit.run(p, (X, Y), feedback=zeros).loss)(params)
    assert not np.any(silent["below"]) and np.any(silent["w"])


# ---------------------------------------------------------------------------- fans


def test_equal_functions_have_equal_fans():
    dense = [name for name, (_, shape) in SYNAPSES.items() if shape == (6, 3)]
    for name in dense:
        circuit = problem("synapse", name)[0].circuit
        fans = {(s.fan_in, s.fan_out) for s in circuit.synapses if s.name == "w"}
        assert fans == {(6, 3)}, name
    for name, fans in {
        "one_unit": (6, 1),
        "weighted_mean": (6, 1),
        "shifted_taps": (3, 3),
        "circulant": (6, 6),
        "gathered_inputs": (4, 4),
        "product_sum": (6, 6),
        "pooled_positions": (2, 1),
    }.items():
        circuit = problem("synapse", name)[0].circuit
        found = {(s.fan_in, s.fan_out) for s in circuit.synapses if s.name == "w"}
        assert found == {fans}, name


def test_a_depthwise_convolution_has_the_fans_of_its_taps():
    def convolved(h, w):
        numbers = jax.lax.conv_dimension_numbers(
            (4, 3, 2), w.shape, ("NWC", "WIO", "NWC")
        )
        h = h.reshape(4, 3, 2)
        h = jax.lax.conv_general_dilated(
            h, w, (1,), [(2, 0)], dimension_numbers=numbers, feature_group_count=2
        )
        return h.reshape(4, 6)

    loss_fn, params = layered(convolved, (3, 1, 2))
    circuit = apical.trace(lambda p, x, y: loss_fn(p, x, y))(params, X, Y)
    taps = problem("synapse", "shifted_taps_of_channels")[0].circuit
    fans = {
        (s.fan_in, s.fan_out)
        for found in (circuit, taps)
        for s in found.synapses
        if s.name == "w"
    }
    assert fans == {(3, 3)}


# ----------------------------------------------------------------------- generator


@st.composite
def stacks(draw):
    """A few spellings, gains among them, one above the other."""
    wide = [name for name, (_, shape) in SYNAPSES.items() if shape == (6, 6)]
    layers = []
    for _ in range(draw(st.integers(1, 3))):
        table = draw(st.sampled_from([SYNAPSES, SYNAPSES, GAINS]))
        names = sorted(set(table) & {*wide, *GAINS}) if table is SYNAPSES else GAINS
        layers.append(draw(st.sampled_from(sorted(names))))
    return layers


@pytest.mark.sweep
@hypothesis.seed(0)
@hypothesis.settings(max_examples=15)
@hypothesis.given(names=stacks())
def test_stacks_of_spellings_keep_the_laws(names):
    every = {**SYNAPSES, **GAINS}
    params, width = {"below": normal(9, 5, 6, size=0.5)}, 6
    for i, name in enumerate(names):
        params[f"w{i}"] = normal(10 + i, *every[name][1], size=0.5)

    def predict(params, x):
        h = jnp.tanh(x @ params["below"])
        for i, name in enumerate(names):
            h = jnp.tanh(every[name][0](h[:, :6], params[f"w{i}"]))
            h = jnp.tile(h, 6)[:, :6]
        return h

    params["above"] = normal(20, width, 3, size=0.5)

    def loss_fn(params, x, y):
        return jnp.mean((predict(params, x) @ params["above"] - y) ** 2)

    learner = apical.value_and_grad(loss_fn, FeedbackAlignment())
    learner.init(jax.random.key(0), params, X, Y)  # the check of the backward path
    found = traced(loss_fn, params, X, Y)
    synapses = {f"w{i}" for i, name in enumerate(names) if name in SYNAPSES}
    assert {s.name for s in found.circuit.synapses} == {"below", "above", *synapses}
    copy = drawn(params)
    zeros = [{**copy, name: jnp.zeros_like(copy[name])} for name in sorted(synapses)]

    @jax.jit
    def compute(copies):
        def feedback(copy):
            return jax.grad(lambda p: found.run(p, (X, Y), feedback=copy).loss)(params)

        return jax.vmap(feedback)(copies), jax.grad(loss_fn)(params, X, Y)

    found_by, own = compute(stacked(params, copy, *zeros))
    assert_same(row(0, found_by), own, 1e-4)
    for i in range(len(zeros)):
        assert distance(row(2 + i, found_by)["below"], row(1, found_by)["below"]) > 1e-3
