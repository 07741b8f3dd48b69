"""The laws of a circuit, over every problem of the zoo.

Everything that is measured of one problem is computed by one compiled program, in a
fixture of the module, so that it is compiled once for all the laws.
"""

import functools
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from support.laws import (
    EVERY,
    Problem,
    assert_same,
    distance,
    drawn,
    problem,
    row,
    stacked,
)

import apical

pytestmark = pytest.mark.grid(keep=7)


class Measured(NamedTuple):
    """What one problem gives, all of it computed under `jax.jit`."""

    loss: Any
    aux: Any
    grads: Any
    run: Any  # circuit.run
    held: Any  # the same, every node held at its value
    moved: Any  # the loss, every node held at another value
    feedback: Any  # gradients through the weights themselves, and through others
    pulled: Any  # local products of the true cotangents, and of none


def elsewhere(site):
    """Other values for a site, not a shift: a softmax or a norm would not see one."""
    waves = jnp.cos(jnp.arange(site.size, dtype=site.dtype))
    return 0.5 * site + waves.reshape(site.shape)


def measure(found: Problem, learned, copies, args) -> Measured:
    circuit, params = found.circuit, found.circuit.merged(found.params, learned)

    def through(copy):
        def loss(learned):
            return found.run(learned, args, feedback=copy).loss

        return jax.grad(loss)(learned)

    def at_nodes(errors):
        return circuit.run(params, args, tap="offset", inject=errors).loss

    def clamped(values):
        return circuit.run(params, args, tap="clamp", inject=values)

    def pulled(signals):
        return circuit.pull(params, args, run.sites, signals, loss=1.0)

    (loss, aux), grads = jax.value_and_grad(found.loss, has_aux=True)(learned, args)
    run = circuit.run(params, args)
    signals = jax.grad(at_nodes)(circuit.zeros())
    silence = jax.tree.map(jnp.zeros_like, signals)
    return Measured(
        loss,
        aux,
        grads,
        run,
        clamped(run.sites),
        clamped(jax.tree.map(elsewhere, run.sites)).loss,
        jax.vmap(through)(copies),
        jax.vmap(pulled)(stacked(signals, silence)),
    )


@pytest.fixture(scope="module", params=EVERY)
def measured(request) -> tuple[str, Measured]:
    found = problem(request.param)
    compute = jax.jit(functools.partial(measure, found))
    copies = stacked(found.learned, drawn(found.learned))
    return request.param, compute(found.learned, copies, found.args)


# --------------------------------------------------------------------- evaluation


def test_a_circuit_computes_the_loss_and_the_aux(measured):
    _, found = measured
    assert_same((found.run.loss, found.run.aux), (found.loss, found.aux), 1e-5)


def test_holding_every_node_at_its_value_changes_nothing(measured):
    name, found = measured
    assert set(found.run.sites) == {n.name for n in problem(name).circuit.nodes}
    assert_same(found.held.loss, found.loss, 1e-5)
    assert_same(found.held.sites, found.run.sites, 1e-5)


def test_holding_them_at_other_values_changes_the_loss(measured):
    _, found = measured
    assert distance(found.moved, found.loss) > 1e-3


def test_sites_have_the_shape_and_dtype_of_their_nodes(measured):
    name, found = measured
    shapes = {n.name: (n.shape, n.dtype) for n in problem(name).circuit.nodes}
    assert {n: (s.shape, s.dtype) for n, s in found.run.sites.items()} == shapes


# ----------------------------------------------------------------------- feedback


def test_feedback_through_the_weights_themselves_is_backpropagation(measured):
    name, found = measured
    assert_same(row(0, found.feedback), found.grads, problem(name).tolerance)


# The leaves above which no synapse lies, found by reading each model.
HIGHEST = {
    "mlp_tanh": {"2.w", "2.b"},
    "mlp_layer_norm": {"out.w", "out.b"},
    "mlp_residual": {"out.w", "out.b"},
    "conv_batch_norm": {"out.w", "out.b"},
    "rnn": {"out.w", "out.b"},
    "nested_scan": {"side.w", "side.b", "out.w", "out.b"},
    "scanned_stack_remat": {"out.w", "out.b"},
    "transformer": {"out.w", "out.b"},
    "language_model": set(),
    "lora": {"out.w", "out.b"},
    "conditional": {"out.w", "out.b"},
    "equinox_conv_gru": {"out.weight", "out.bias"},
    "tied_weight": set(),
    "scan_xs": set(),
    "batched_einsum": {"above"},
    "conv_transposed": {"above"},
}


def lowest(name: str) -> set[str]:
    circuit = problem(name).circuit
    return {circuit.leaves.names[i] for i in circuit.synapses[0].leaves}


def test_other_feedback_changes_what_lies_below_a_synapse_and_nothing_else(measured):
    name, found = measured
    changed = problem(name).changed(row(1, found.feedback), found.grads)
    assert lowest(name) <= changed
    if name in HIGHEST:
        assert set(problem(name).circuit.leaves.names) - changed == HIGHEST[name]


# ----------------------------------------------------------------- local products


def test_local_products_compose_to_the_gradient(measured):
    name, found = measured
    assert_same(row(0, found.pulled), found.grads, problem(name).tolerance)


def test_without_teaching_signals_only_the_top_is_taught(measured):
    name, found = measured
    assert lowest(name) <= problem(name).changed(row(1, found.pulled), found.grads)


# ---------------------------------------------------------------------- structure


@pytest.mark.parametrize("name", EVERY)
def test_every_synapse_is_found(name):
    assert len(problem(name).circuit.synapses) == EVERY[name].synapses


@pytest.mark.parametrize("name", EVERY)
def test_each_synapse_reaches_one_node_or_the_loss(name):
    assert problem(name).circuit.separated is True


@pytest.mark.parametrize("name", EVERY)
def test_every_learned_leaf_is_carried_by_a_synapse_or_listed_with_a_reason(name):
    circuit = problem(name).circuit
    carried = {circuit.leaves.names[i] for s in circuit.synapses for i in s.leaves}
    assert carried | set(circuit.unreached) == set(circuit.leaves.names)
    assert all(circuit.unreached.values())
    assert circuit.unknown == ()


@pytest.mark.parametrize("name", EVERY)
def test_nodes_and_synapses_know_the_line_of_the_model_not_of_its_library(name):
    circuit = problem(name).circuit
    lines = {part.where for part in (*circuit.nodes, *circuit.synapses)}
    assert all(re.search(r"\bzoo\b.*\.py:\d+", line) for line in lines), lines


@pytest.mark.parametrize("name", EVERY)
def test_names_are_unique_and_do_not_count_equations(name):
    found = problem(name)
    names = [node.name for node in found.circuit.nodes]
    assert len(set(names)) == len(names)

    def later(params, *args):  # more equations in front, the same circuit behind
        for _ in range(12):
            jnp.sin(jnp.cos(jnp.ones(3)))
        return found.loss_fn(params, *args)

    again = apical.trace(later, **found.keywords)(found.params, *found.args)
    assert [node.name for node in again.nodes] == names
    assert not any(re.search(r"\d{2,}", name) for name in names)


def test_numbers_without_a_dtype_of_their_own_leave_that_of_the_others():
    def loss_fn(params, x, temperature):
        h = jnp.tanh(x @ params["a"] / temperature)
        return jnp.mean((h @ params["b"]).astype(jnp.float32) ** 2)

    low = {"a": jnp.ones((3, 4), jnp.bfloat16), "b": jnp.ones((4, 2), jnp.bfloat16)}
    args = jnp.ones((5, 3), jnp.bfloat16), jnp.asarray(3.0)  # weakly typed
    circuit = apical.trace(loss_fn, batch_axes=(0, None))(low, *args)
    assert circuit.nodes[0].dtype == jnp.bfloat16
    assert circuit.run(low, args).loss == loss_fn(low, *args)
    strong = args[0], jnp.float32(3.0)
    again = apical.trace(loss_fn, batch_axes=(0, None))(low, *strong)
    assert again.nodes[0].dtype == jnp.float32
