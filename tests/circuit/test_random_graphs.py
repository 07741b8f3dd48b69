"""The laws of circuits on randomly generated networks.

`APICAL_EXAMPLES` is their number; the default is 30.
"""

import os
from typing import Any, NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import pytest
from support.laws import Problem, assert_same, drawn, row, stacked, traced
from support.zoo import random_graph

from apical.rules import PredictiveCoding, Sweep

PARTS = 5  # so that they can be shared out among processes
EXAMPLES = int(os.environ.get("APICAL_EXAMPLES", "30"))
# Rounding, relative to the largest number of a leaf; loops add to it.
TOLERANCE = 1e-5


class Measured(NamedTuple):
    """Gradients of one graph, all computed by one compiled program."""

    true: Any
    feedback: Any  # through the weights themselves, others, and zeros
    pulled: Any  # local products of the true cotangents, and of none
    settled: Any  # predictive coding with as many steps as the longest path of nodes
    unsettled: Any  # the same with one step fewer
    swept: Any  # predictive coding by one sweep from back to front


def measure(found: Problem, params, copies, x, y) -> Measured:
    circuit, args = found.circuit, (x, y)

    def through(copy):
        return jax.grad(lambda p: found.run(p, args, feedback=copy).loss)(params)

    def at_nodes(errors):
        return circuit.run(params, args, tap="offset", inject=errors).loss

    def pulled(signals):
        sites = circuit.run(params, args).sites
        return circuit.pull(params, args, sites, signals, loss=1.0)

    def coded(**options):
        return PredictiveCoding(**options).credit(circuit, params, (), args).grads

    signals = jax.grad(at_nodes)(circuit.zeros())
    silence = jax.tree.map(jnp.zeros_like, signals)
    return Measured(
        jax.grad(found.loss_fn)(params, x, y),
        jax.vmap(through)(copies),
        jax.vmap(pulled)(stacked(signals, silence)),
        coded(steps=circuit.depth),
        coded(steps=circuit.depth - 1) if circuit.depth > 1 else None,
        coded(inference=Sweep()),
    )


def check(loss_fn, params, args) -> None:
    found = traced(loss_fn, params, *args)
    compute = jax.jit(lambda *arrays: measure(found, *arrays))
    found.circuit.require_feedback()  # checks the backward path too
    zeros = jax.tree.map(jnp.zeros_like, params)
    result = compute(params, stacked(params, drawn(params), zeros), *args)
    itself, other = row(0, result.feedback), row(1, result.feedback)
    pulled, unpulled = row(0, result.pulled), row(1, result.pulled)
    circuit, true = found.circuit, result.true
    lowest = {circuit.leaves.names[i] for i in circuit.synapses[0].leaves}

    assert circuit.separated is True
    assert_same(itself, true, TOLERANCE)
    assert lowest <= found.changed(other, true)
    silent = {k: v for k, v in row(2, result.feedback).items() if k != "out"}
    assert not any(map(jnp.any, jax.tree.leaves(silent)))
    assert_same(pulled, true, TOLERANCE)
    assert lowest <= found.changed(unpulled, true)
    assert_same(result.settled, true, TOLERANCE)
    assert_same(result.swept, true, TOLERANCE)
    if result.unsettled is not None:
        with pytest.raises(AssertionError):
            assert_same(result.unsettled, true, TOLERANCE)


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(PARTS))
def test_the_laws_hold_on_random_graphs(part):
    @hypothesis.seed(part)
    @hypothesis.settings(max_examples=-(-EXAMPLES // PARTS))
    @hypothesis.given(drawn=random_graph())
    def look(drawn):
        check(*drawn)

    look()


def test_random_graphs_are_of_every_depth():
    depths = set()

    @hypothesis.settings(max_examples=40)
    @hypothesis.given(drawn=random_graph())
    def look(drawn):
        loss_fn, params, args = drawn
        depths.add(traced(loss_fn, params, *args).circuit.depth)

    look()
    assert len(depths) > 5 and min(depths) < 3
