"""Names of leaves, keys and marks: they change nothing but names."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import hostile_names as nasty
from support.laws import normal

import apical
from apical import rules
from apical.rules.predictive_coding._active_front import fronts
from apical.rules.tools import LOSS

WIDTHS = ((3, 4), (4, 4), (4, 4), (4, 4), (4, 2))
LEAVES = [normal(i, *shape, size=0.5) for i, shape in enumerate(WIDTHS)]
DATA = (normal(7, 6, 3), normal(8, 6, 2))
KEY = jax.random.key(0)
PLAIN = {f"w{i}": 0 for i in range(len(LEAVES))}
TREES = {
    **nasty.CHOSEN,
    **{f"drawn {seed}": nasty.drawn(len(LEAVES), seed) for seed in range(4)},
}


def residual(tree, x, y):
    """A stream with two branches, and a loss that reads one node below the last."""
    first, one, two, three, last = jax.tree.leaves(tree)
    h = x @ first
    h = h + jnp.tanh(h) @ one
    h = h + jnp.tanh(jnp.tanh(h) @ two) @ three
    return 0.5 * jnp.mean(jnp.sum((h @ last - y) ** 2, -1))


def chain(tree, x, y):
    *inner, last = jax.tree.leaves(tree)
    for w in inner:
        x = jnp.tanh(x @ w)
    return 0.5 * jnp.mean(jnp.sum((x @ last - y) ** 2, -1))


def looped(tree, x, y):
    first, one, two, three, last = jax.tree.leaves(tree)
    start = jnp.tanh(x @ first)
    h, seen = jax.lax.scan(lambda h, _: (jnp.tanh(h @ one), h @ two), start, length=3)
    h = jnp.tanh(h @ three + seen.sum(0))
    return 0.5 * jnp.mean(jnp.sum((h @ last - y) ** 2, -1))


NETWORKS = {"residual": residual, "chain": chain, "looped": looped}


def params_of(tree):
    return nasty.filled(tree, LEAVES)


def circuit_of(loss_fn, tree):
    return apical.trace(loss_fn)(params_of(tree), *DATA)


def numbered(circuit, name):
    """A node by its place, so that circuits with other names can be compared."""
    names = [node.name for node in circuit.nodes]
    return name if name is LOSS else names.index(name)


def structure(circuit):
    """All that a circuit says of itself but its names."""
    number = functools.partial(numbered, circuit)
    return {
        "nodes": [(n.shape, n.why, n.unit, n.loops) for n in circuit.nodes],
        "synapses": [(s.operation, s.shape, s.leaves) for s in circuit.synapses],
        "reach": {
            number(name): [(number(to), later) for to, later in reached]
            for name, reached in circuit.reach.items()
        },
        "made of": {
            number(name): (sorted(map(number, made.nodes)), made.synapses)
            for name, made in circuit.parents.items()
        },
        "layers": [(layer.leaves, layer.hidden) for layer in circuit.layers],
        "depth": circuit.depth,
        "fronts": [
            (sorted(map(number, each.erring)), sorted(map(number, each.moving)))
            for each in fronts(circuit, 9)
        ],
        "axes": list(circuit.example_axes.values()),
    }


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("tree", TREES)
def test_a_circuit_is_the_same_but_for_its_names(network, tree):
    found = circuit_of(NETWORKS[network], TREES[tree])
    assert structure(found) == structure(circuit_of(NETWORKS[network], PLAIN))
    named = ([n.name for n in found.nodes], [each.name for each in found.layers])
    for names in (*named, found.leaves.names):
        assert len(set(names)) == len(names)
        assert all(name.strip() and name.isprintable() for name in names)
    nodes = {node.name for node in found.nodes}
    assert set(found.run(params_of(TREES[tree]), DATA).sites) == nodes
    assert not nodes & {"output", *map(apical.drive_of, nodes)}
    assert str(found).count("\n") == str(circuit_of(NETWORKS[network], PLAIN)).count(
        "\n"
    )


@pytest.mark.parametrize("tree", TREES)
def test_a_layer_is_called_as_the_node_that_it_makes(tree):
    """Where the output or a drive is called so, the node has a number besides."""
    circuit = circuit_of(chain, TREES[tree])
    *hidden, _ = circuit.layers
    for node, layer in zip(circuit.nodes, hidden, strict=True):
        assert node.name in (layer.name, f"{layer.name}#2")


@pytest.mark.parametrize("tree", TREES)
def test_depth_scaling_is_the_same_but_for_its_names(tree):
    found, plain = (
        apical.depth_scaled(residual, params_of(t), *DATA).factors
        for t in (TREES[tree], PLAIN)
    )
    names = circuit_of(residual, TREES[tree]).leaves.names
    assert [found[name] for name in names] == list(plain.values())
    assert len(set(plain.values())) > 2


def draw(key, node, above):
    def matrix(key, shape):
        return jax.random.normal(key, (shape.shape[-1], node.shape[-1]))

    keys = jax.random.split(key, len(above))
    return {m: matrix(k, s) for k, (m, s) in zip(keys, above.items(), strict=True)}


def read(weights, above):
    return sum(jnp.tanh(above[m]) @ weights[m] for m in weights)


RULES = {
    "feedback": (chain, rules.FeedbackAlignment()),
    "direct": (residual, rules.DirectFeedbackAlignment()),
    "coding": (residual, rules.PredictiveCoding(4, 0.1, "free")),
    "coding, looped": (looped, rules.PredictiveCoding(4, 0.1, "free")),
    "levels": (
        residual,
        rules.PredictiveCoding(
            2, 0.1, "free", inference=rules.Sweep(order="even/odd", sweeps=4)
        ),
    ),
    "units": (chain, rules.EquilibriumPropagation()),
    "blocks": (chain, rules.LocalLosses(blocks=2)),
    "targets": (residual, rules.DifferenceTargetPropagation()),
    "own inverse": (
        residual,
        rules.DifferenceTargetPropagation(inverse=(draw, read)),
    ),
}


@functools.cache
def taught(rule, tree):
    """The gradients of a rule, and its signals in the order of the nodes."""
    loss_fn, made = RULES[rule]
    params = params_of(PLAIN if tree is None else TREES[tree])
    learner = apical.value_and_grad(loss_fn, made)

    def run(params, *args):
        state = learner.init(KEY, params, *args)
        names = [n.name for n in learner.circuit(params, *args).nodes]
        signals = learner.signals(params, state, *args)
        grads = learner(params, state, *args).grads
        return jax.tree.leaves(grads), [signals[n] for n in names if n in signals]

    return jax.jit(run)(params, *DATA)


@pytest.mark.grid(keep=9)
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_teaches_the_same_whatever_leaves_are_called(rule):
    for tree in TREES:
        found, plain = taught(rule, tree), taught(rule, None)
        for ours, theirs in zip(
            *(jax.tree.leaves(each) for each in (found, plain)), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert all(np.any(leaf) for leaf in plain[0])


@pytest.mark.parametrize("tree", ["dots", "twins"])
def test_alignment_has_a_row_for_every_leaf(tree):
    measure = apical.measure.alignment(
        apical.value_and_grad(chain, rules.FeedbackAlignment())
    )
    params = params_of(TREES[tree])
    learner = apical.value_and_grad(chain, rules.FeedbackAlignment())
    found = measure(params, learner.init(KEY, params, *DATA), *DATA)
    assert len(found.leaves) == len(LEAVES)


MARKS = [name for name in nasty.NASTY if name not in ("", "output", "x:drive")]


def test_marks_may_be_called_anything_else():
    names = MARKS

    def loss_fn(w, x, y):
        for name, w_l in zip(names, w[:-1], strict=True):
            x = apical.node(jnp.tanh(x @ w_l), name)
        return jnp.mean((x @ w[-1] - y) ** 2)

    params = [normal(0, 3, 4), *[jnp.eye(4)] * (len(names) - 1), normal(1, 4, 2)]
    circuit = apical.trace(loss_fn)(params, *DATA)
    assert [node.name for node in circuit.nodes] == names
    targets = [to for ((to, _),) in circuit.reach.values()]
    assert targets == [*names[1:], LOSS]


def test_a_mark_may_be_called_as_another_node_would_be():
    def loss_fn(w, x, y):
        h = jnp.tanh(x @ w["a"])
        h = apical.node(jnp.tanh(h @ w["b"]), "a")
        return jnp.mean((h @ w["c"] - y) ** 2)

    params = {"a": normal(0, 3, 4), "b": jnp.eye(4), "c": normal(1, 4, 2)}
    circuit = apical.trace(loss_fn)(params, *DATA)
    assert [node.name for node in circuit.nodes] == ["a#2", "a"]
    step = apical.train_step(loss_fn, rules.PredictiveCoding(), optax.sgd(0.1))
    step(params, step.init(KEY, params, *DATA), *DATA)


@pytest.mark.parametrize("mark", [apical.node, apical.bernoulli])
@pytest.mark.parametrize("name", ["output", "x:drive", "\0sum 0", "\0output 1"])
def test_a_mark_cannot_be_called_as_a_site_that_is_no_node(mark, name):
    with pytest.raises(ValueError, match="cannot be called"):
        mark(jnp.ones(1), name)
    assert mark(jnp.ones(1), f"{name}s".lstrip("\0")) == 1


def test_a_drawing_has_an_arrow_to_each_node_and_to_the_loss():
    drawing = circuit_of(chain, nasty.CHOSEN["terminals"]).mermaid().splitlines()
    arrows = [line.split() for line in drawing if "-->" in line]
    assert [line[-1] for line in arrows] == ["n1", "n2", "n3", "loss"]


@pytest.mark.parametrize(("layers", "said"), [(2, "1 node"), (3, "2 nodes")])
def test_what_there_is_one_of_is_said_to_be_one(layers, said):
    circuit = apical.trace(chain)(LEAVES[:1] + LEAVES[-layers + 1 :], *DATA)
    first = f"{said}, {layers} synapses, longest path {said}"
    assert str(circuit).splitlines()[0] == first
