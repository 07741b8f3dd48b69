"""Sites: values and drives, reachability, and taps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from support.laws import assert_same, distance, normal, problem
from support.one_hidden_layer import PARAMS, X, Y, below_a_synapse, network

import apical
from apical.rules import Backpropagation, PredictiveCoding
from apical.rules.tools import LOSS, Edge

# --------------------------------------------------------------------------- drives


def tempered(z):
    return jnp.where(z > 0, z, 0.1 * z) / 4


UNITS = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "exact gelu": lambda z: jax.nn.gelu(z, approximate=False),
    "softplus": jax.nn.softplus,
    "swish": jax.nn.swish,
    "elu": jax.nn.elu,
    "mish": jax.nn.mish,
    "hard tanh": jax.nn.hard_tanh,
    "square": jnp.square,
    "leaky relu over four": tempered,
    "jitted": jax.jit(jnp.sin),
    "mapped": jax.vmap(jnp.tanh),
    "reshaped": lambda z: jnp.tanh(z.reshape(5, 2, 2)).reshape(5, 4),
    "dropout": lambda z: jnp.where(np.arange(4) > 0, jnp.tanh(z) / 0.75, 0),
}


def normalised(z):
    return (z - jnp.mean(z, axis=0)) * lax.rsqrt(jnp.var(z, axis=0) + 1e-3)


def pooled(z):
    return lax.reduce_window(z, 0.0, lax.add, (1, 2), (1, 2), "VALID") / 4


NO_UNITS = {
    "nothing": lambda z: z,
    "division by four": lambda z: z / 4,
    "constant mask": lambda z: jnp.where(np.arange(4) > 0, z / 0.75, 0),
    "average pool": pooled,
    "average pool of units": lambda z: pooled(jnp.tanh(z)),
    "batch norm": normalised,
    "layer norm": jax.nn.standardize,
    "gated linear unit": jax.nn.glu,
    "product of two": lambda z: z * jnp.roll(z, 1, axis=1),
    "softmax": jax.nn.softmax,
    "max pool": lambda z: jnp.max(z.reshape(-1, 2, 2), axis=2),
}


@pytest.mark.parametrize("name", UNITS)
def test_a_nonlinearity_of_one_activity_has_a_drive(name):
    found, rho = below_a_synapse(UNITS[name]), UNITS[name]
    (node,) = found.circuit.nodes
    site = apical.drive_of(node.name)
    assert node.unit

    def rerun(z):
        options = {"tap": "clamp", "inject": {site: z}, "sites": [node.name]}
        return found.run(PARAMS, (X,), **options).sites[node.name]

    drive = found.run(PARAMS, (X,), sites=[site]).sites[site]
    z = X @ PARAMS["a"] + PARAMS["b"]
    assert_same(drive.reshape(z.shape), z)
    other = jnp.cos(3 * z).reshape(drive.shape)
    assert_same(rerun(other).reshape(5, -1), rho(other.reshape(z.shape)).reshape(5, -1))
    assert distance(rerun(other), rerun(drive)) > 1e-2


@pytest.mark.parametrize("name", NO_UNITS)
def test_what_is_no_nonlinearity_of_one_activity_has_none(name):
    found = below_a_synapse(NO_UNITS[name])
    (node,) = found.circuit.nodes
    assert not node.unit
    with pytest.raises(ValueError, match=r"no drive; pass nodes='unit'"):
        found.run(PARAMS, (X,), sites=[apical.drive_of(node.name)])
    assert below_a_synapse(NO_UNITS[name], nodes="unit").circuit.nodes == ()


def test_a_signal_at_the_drive_passes_no_derivative_of_the_nonlinearity():
    found = below_a_synapse(jnp.tanh)
    z = X @ PARAMS["a"] + PARAMS["b"]
    held, delta = {"a": jnp.tanh(z)}, jnp.cos(z)

    def pull(site):
        return found.circuit.pull(PARAMS, (X,), held, {site: delta})["a"]

    assert_same(pull("a:drive"), X.T @ delta)
    assert_same(pull("a"), X.T @ (delta * (1 - jnp.tanh(z) ** 2)))
    assert distance(pull("a"), pull("a:drive")) > 0.1


# ------------------------------------------------------------------ reach and choices


REACHES = {
    "mlp_tanh": {"0": ["1"], "1": [LOSS]},
    "mlp_residual": {
        "embed": ["blocks.0.0", "blocks.0.1"],
        "blocks.0.0": ["blocks.0.1"],
        "blocks.0.1": ["blocks.1.0", "blocks.1.1"],
        "blocks.1.0": ["blocks.1.1"],
        "blocks.1.1": [LOSS],
    },
    "rnn": {"in+u": [Edge("in+u", later=True), LOSS]},
    "attention": {
        "in": ["attention"],
        "attention": ["attention#2"],
        "attention#2": [LOSS],
    },
}


@pytest.mark.parametrize("name", REACHES)
def test_reach_says_what_a_node_reaches_directly(name):
    found = problem(name).circuit.reach
    assert found == {
        source: tuple(to if isinstance(to, Edge) else Edge(to) for to in reached)
        for source, reached in REACHES[name].items()
    }


@pytest.mark.parametrize("name", ["mlp_residual", "attention"])
def test_reach_is_where_the_derivatives_are(name):
    """With every node held, exactly the nodes that are reached feel a change."""
    found = problem(name)
    names = [node.name for node in found.circuit.nodes]
    held = found.run(found.learned, found.args).sites

    def change(source, values):
        """How the other sites and the loss move when a node does."""
        along = jax.tree.map(jnp.zeros_like, held)
        along[source] = jnp.cos(jnp.arange(values[source].size, dtype=jnp.float32))
        along[source] = along[source].reshape(values[source].shape)

        def run(values):
            run = found.run(found.learned, found.args, tap="clamp", inject=values)
            return run.sites, run.loss

        return jax.jvp(run, (values,), (along,))[1]

    moved = jax.jit(lambda values: {name: change(name, values) for name in names})(held)
    for source in names:
        sites, loss = moved[source]
        felt = {Edge(target) for target, by in sites.items() if np.any(by)}
        felt |= {Edge(LOSS)} if np.any(loss) else set()
        assert felt == set(found.circuit.reach[source])


def marked_stream(params, x):
    stream = x @ params["a"]
    for name in ("one", "two"):
        stream = (
            stream + apical.node(jnp.tanh(stream @ params["u"]), name) @ params["u"]
        )
    return jnp.mean((stream @ params["c"]) ** 2)


STREAM = {"a": PARAMS["a"], "u": normal(8, 4, 4, size=0.5), "c": PARAMS["c"]}


@pytest.mark.parametrize(
    ("nodes", "names", "separated"),
    [
        ("entry", ["a", "one", "u", "two", "u#2"], True),
        ("unit", ["one", "two"], False),
        ("marked", ["one", "two"], False),
    ],
)
def test_nodes_are_chosen_by_entry_by_unit_or_by_mark(nodes, names, separated):
    circuit = apical.trace(marked_stream, nodes=nodes)(STREAM, X)
    assert [node.name for node in circuit.nodes] == names
    assert circuit.separated is separated


def test_every_operation_can_be_a_node():
    def loss_fn(params, x):
        h = jax.nn.swish(x @ params["a"])
        return jnp.mean((h + h * (h @ params["u"])) ** 2)

    circuit = apical.trace(loss_fn, nodes="every")(STREAM, X)
    assert {node.why for node in circuit.nodes} == {"operation"}
    assert len(circuit.nodes) > 5

    @jax.jit
    def grads(params):
        exact, short = (
            PredictiveCoding(steps=steps).credit(circuit, params, (), (X,)).grads
            for steps in (circuit.depth, circuit.depth - 1)
        )
        return jax.grad(loss_fn)(params, X), exact, short

    true, exact, short = grads(STREAM)
    assert_same(exact, true)
    assert distance(short["a"], true["a"]) > 1e-3


def test_marked_nodes_without_a_mark_are_none():
    circuit = below_a_synapse(jnp.tanh, nodes="marked").circuit
    assert circuit.nodes == ()
    with pytest.raises(ValueError, match="No node was found"):
        PredictiveCoding().init(circuit, jax.random.key(0), PARAMS, (X,))


# ------------------------------------------------------------------------------- taps


def test_taps_pass_hold_or_stop_the_chain():
    found = problem("mlp_tanh")
    zeros = found.circuit.zeros()

    def run(learned, tap, inject=None):
        return found.run(learned, found.args, tap=tap, inject=inject).loss

    @jax.jit
    def compute(learned):
        sites = found.run(learned, found.args).sites
        gradient = jax.value_and_grad(run)
        return {
            "free": gradient(learned, None),
            "offset": gradient(learned, "offset", zeros),
            "clamp": gradient(learned, "clamp", sites),
            "hold": gradient(learned, "hold", zeros),
            "stop": gradient(learned, "stop"),
            "own": gradient(learned, lambda site, computed, injected: computed),
        }

    result = compute(found.learned)
    for tap in ("offset", "own"):
        assert_same(result[tap], result["free"])
    for tap in ("hold", "stop"):
        assert_same(result[tap], result["clamp"])
    (loss, clamp), (held_loss, free) = result["clamp"], result["free"]
    assert_same(held_loss, loss)
    assert found.changed(clamp, free) == {"0.w", "0.b", "1.w", "1.b"}


def test_a_tap_is_called_once_for_each_site_with_what_was_injected():
    found, calls = problem("rnn"), []

    def tap(site, computed, injected):
        calls.append((site, computed.shape, injected))
        return computed

    found.run(found.learned, found.args, tap=tap, sites=["in+u", "output"])
    assert calls == [("in+u", (4, 6), None), ("output", (4, 2), None)]


def test_labels_that_are_closed_over_are_no_part_of_the_output():
    """A constant for each example is data; one for all examples is a bias."""

    def predicted(loss_fn):
        learner = apical.value_and_grad(loss_fn, Backpropagation())
        return learner.predict(PARAMS, (), X)

    def output(params, x):
        return network(jnp.tanh, params, x)

    closed = predicted(lambda p, x: jnp.mean((output(p, x) - Y) ** 2))
    assert_same(closed, output(PARAMS, X))
    bias = jnp.arange(2.0)
    shifted = predicted(lambda p, x: jnp.mean((output(p, x) + bias) ** 2))
    assert_same(shifted, output(PARAMS, X) + bias)
