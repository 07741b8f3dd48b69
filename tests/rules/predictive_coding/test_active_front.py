"""Only nodes that a signal has reached are computed, without loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import assert_close, batch, layers

import apical
from apical.rules import PredictiveCoding
from apical.rules._adaptive_step_size import as_optimizer
from apical.rules.predictive_coding._active_front import ActiveFront, fronts, stages
from apical.rules.predictive_coding._energy import EnergyTerms
from apical.rules.predictive_coding._free_prediction import FreePredictionEnergy
from apical.rules.tools import relax

DATA = batch(4, 5, 3)


def chain(params, x, y):
    for each in params[:-1]:
        x = jnp.tanh(x @ each["w"] + each["b"])
    return 0.5 * jnp.mean(jnp.sum((x @ params[-1]["w"] + params[-1]["b"] - y) ** 2, -1))


def skips(params, x, y):
    """The first activity is read by the loss too, the second by the fourth."""
    first, second, third, fourth, last = params
    h1 = jnp.tanh(x @ first["w"] + first["b"])
    h2 = jnp.tanh(h1 @ second["w"] + second["b"])
    h3 = jnp.tanh(h2 @ third["w"] + third["b"])
    h4 = jnp.tanh(h3 @ fourth["w"] + fourth["b"] + h2)
    output = h4 @ last["w"] + last["b"]
    return 0.5 * jnp.mean(jnp.sum((output - y) ** 2, -1) + jnp.sum(h1**2, -1))


NETWORKS = {
    "a chain": (chain, layers(5, 6, 6, 6, 6, 6, 3)),
    "skips": (skips, layers(5, 6, 6, 6, 6, 3)),
}


def energy_of(loss_fn, params):
    circuit = apical.trace(loss_fn)(params, *DATA)
    return FreePredictionEnergy(EnergyTerms(circuit, params, DATA))


def slopes_by_every_step(energy, steps):
    """The slope before each plain step, all of it computed."""
    values, found = energy.start, []
    for _ in range(steps):
        found.append(energy.slope(values))
        values = jax.tree.map(lambda v, s: v - 0.2 * s, values, found[-1])
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_the_front_is_where_slopes_are_not_zero(name):
    energy = energy_of(*NETWORKS[name])
    slopes = slopes_by_every_step(energy, 7)
    front = [each.moving for each in fronts(energy.circuit, 7)]
    front += [front[-1]] * (7 - len(front))
    for slope, moving in zip(slopes, front, strict=True):
        assert {n for n, s in slope.items() if np.abs(s).max() > 1e-7} <= moving
        assert all(np.abs(slope[n]).max() == 0 for n in slope if n not in moving)
    # Nothing is in the front for nothing: each has a slope when it enters.
    entered = [b - a for a, b in zip([frozenset(), *front], front, strict=False)]
    assert all(np.abs(slopes[t][n]).max() > 0 for t in range(7) for n in entered[t])


def test_a_signal_runs_down_a_chain_one_node_a_step():
    energy = energy_of(*NETWORKS["a chain"])
    moving = [len(front.moving) for front in fronts(energy.circuit, 20)]
    assert moving[:5] == [1, 2, 3, 4, 5]
    assert len(fronts(energy.circuit, 3)) == 3


def test_a_signal_also_enters_where_the_loss_reads_a_node_far_below():
    energy = energy_of(*NETWORKS["skips"])
    first, second, *_ = fronts(energy.circuit, 20)
    names = [node.name for node in energy.circuit.nodes]
    assert first.moving == {names[0], names[-1]}
    assert names[1] in second.moving  # predicted by the first, which has moved


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("steps", [1, 2, 4, 9])
def test_values_and_gradients_are_those_without_a_front(name, steps):
    loss_fn, params = NETWORKS[name]
    energy = energy_of(loss_fn, params)
    whole = [(energy.slope, steps)]
    settled = relax(
        energy.circuit, whole, energy.start, as_optimizer(None, 0.2, energy.circuit)
    )
    expected = energy.settled(*settled)
    rule = PredictiveCoding(steps, 0.2, "free")
    credit = jax.jit(apical.value_and_grad(loss_fn, rule))(params, (), *DATA)
    assert_close(credit.grads, energy.circuit.leaves.combine(expected.grads), atol=1e-7)
    np.testing.assert_allclose(credit.info.residual, expected.residual, rtol=1e-4)


def test_a_front_that_is_too_small_changes_the_values():
    energy = energy_of(*NETWORKS["a chain"])
    plain = as_optimizer(None, 0.2, energy.circuit)
    first = fronts(energy.circuit, 1)[0]

    def late(values, step):
        return energy.slope(values, step, first)

    right = relax(energy.circuit, energy.stages(4), energy.start, plain).point
    wrong = relax(energy.circuit, [(late, 4)], energy.start, plain).point
    assert any(np.abs(right[n] - wrong[n]).max() > 1e-4 for n in right)


def test_what_is_outside_the_front_is_not_computed():
    energy = energy_of(*NETWORKS["a chain"])
    front = fronts(energy.circuit, 1)[0]

    def flops(front):
        compiled = jax.jit(lambda v: energy.slope(v, None, front)).lower(energy.start)
        return compiled.compile().cost_analysis()["flops"]

    assert flops(front) < flops(None) / 2


def test_stages_cover_all_steps_with_a_front_that_covers_each():
    circuit = energy_of(*NETWORKS["a chain"]).circuit
    each = fronts(circuit, 40)
    for steps in (1, 2, 5, 6, 40):
        for written_out in (False, True):
            found = stages(circuit, steps, written_out)
            assert sum(count for _, count in found) == steps
            spread = [front for front, count in found for _ in range(count)]
            for step, front in enumerate(spread):
                needed = each[min(step, len(each) - 1)]
                assert needed.moving <= front.moving
                assert needed.erring <= front.erring


def test_inside_a_loop_a_signal_is_everywhere_at_once():
    def loss_fn(params, x, y):
        def step(h, _):
            return jnp.tanh(h @ params["w"]), None

        h, _ = jax.lax.scan(step, x, length=3)
        return jnp.mean((h @ params["out"] - y) ** 2)

    params = {"w": jnp.eye(5), "out": jnp.ones((5, 3))}
    circuit = apical.trace(loss_fn)(params, *DATA)
    every = frozenset(node.name for node in circuit.nodes)
    assert fronts(circuit, 5) == [ActiveFront(every, every)]


@jax.custom_vjp
def louder(x):
    return x


louder.defvjp(lambda x: (x, None), lambda _, cotangent: (cotangent + 1.0,))


def test_where_a_users_reverse_rule_speaks_without_an_error_nothing_is_left_out():
    def loss_fn(params, x, y):
        return chain(params[1:], louder(jnp.tanh(x @ params[0]["w"])), y)

    params = layers(5, 5, 6, 6, 3)
    circuit = apical.trace(loss_fn)(params, *DATA)
    (only,) = fronts(circuit, 5)
    assert only.moving == {node.name for node in circuit.nodes}
