"""Equilibrium propagation where units have kinks, and where nudges are large."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import distance
from support.settled_by_hand import weights

import apical
from apical.rules import EquilibriumPropagation, Holomorphic
from apical.rules.equilibrium import _complex_valued_network as _complex_network


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def hard_sigmoid(z):
    return jnp.clip(z, 0, 1)


def loss_of(unit):
    def loss_fn(params, x, y):
        for each in params[:-1]:
            x = unit(x @ each["w"] + each["b"])
        out = x @ params[-1]["w"] + params[-1]["b"]
        return 0.5 * jnp.sum((out - y) ** 2) / len(x)

    return loss_fn


def measured(unit, nudges, estimate="centred"):
    """How far estimates are from the gradient at rest, and the states contrasted."""
    params, data = weights()
    circuit = apical.trace(loss_of(unit), nodes="unit")(params, *data)

    def at(nudge):
        rule = EquilibriumPropagation(nudge, 200, 200, gain=0.5, estimate=estimate)
        credit = rule.credit(circuit, params, (), data)
        states = rule._contrast(circuit, params, (), data).values
        return credit.grads, jnp.all(credit.info.settled), states

    grads, settled, states = jax.jit(jax.vmap(at))(jnp.asarray(nudges))
    assert np.all(settled)
    rule = EquilibriumPropagation(free_steps=200, gain=0.5)
    truth = jax.jit(lambda p: rule.reference(circuit, p, (), data))(params)
    rows = [jax.tree.map(lambda g, i=i: g[i], grads) for i in range(len(nudges))]
    return np.array([distance(row, truth) for row in rows]), states


NUDGES = np.array([0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625])


def test_the_centred_estimate_has_order_two_where_units_are_smooth():
    errors, _ = measured(jnp.tanh, NUDGES)
    np.testing.assert_allclose(errors[:-1] / errors[1:], 4, rtol=0.1)


def crossed(states):
    """At each nudge, how many units have a kink between its two states."""
    # What decays to a kink by steps of half the way never quite arrives.
    sides = [(s > 1e-9) & (s < 1 - 1e-9) for s in map(np.asarray, states.values())]
    return sum(np.sum(s[:, 0] != s[:, 1], axis=(1, 2)) for s in sides)


def test_the_centred_estimate_has_a_lower_order_while_units_cross_a_kink():
    errors, states = measured(hard_sigmoid, NUDGES)
    assert np.all(crossed(states)[:4] > 0)
    assert not np.any(crossed(states)[4:])
    # An eighth of the nudge; by order 2 a 64th of the error.
    assert errors[0] / errors[3] < 16
    assert errors[3] / errors[4] > 64
    # Below what takes any unit past a kink, the network is smooth.
    np.testing.assert_allclose(errors[4] / errors[5], 4, rtol=0.1)


# ----------------------------------------------------------------- complex nudges


@pytest.fixture
def unguarded(monkeypatch):
    monkeypatch.setattr(_complex_network, "require_holomorphic", lambda circuit: None)


def test_without_the_refusal_more_points_would_not_help_at_a_kink(unguarded):
    """With rectifiers the error is not that of the order N."""
    nudge, eight = np.array([0.1]), Holomorphic(8)
    for unit, low, high in ((jnp.tanh, 0, 1e-6), (jax.nn.relu, 0.01, 1)):
        (error,), _ = measured(unit, nudge, eight)
        assert low <= error < high


def test_without_the_refusal_a_modulus_would_give_another_gradient(unguarded):
    """Softsign is as good as smooth; but |z| of a complex number has no derivative."""
    nudges = np.array([0.05, 0.0125])
    centred, circle = (
        measured(jax.nn.soft_sign, nudges, e)[0] for e in ("centred", Holomorphic(4))
    )
    assert centred[1] < 1e-3
    assert np.all(circle > 0.03)


def test_operations_that_are_not_holomorphic_are_refused():
    for unit in (jax.nn.relu, jax.nn.soft_sign, hard_sigmoid):
        with pytest.raises(ValueError, match="is not holomorphic"):
            measured(unit, NUDGES[:1], Holomorphic(4))


def test_more_points_help_within_the_radius_of_convergence_only():
    found = [
        measured(jnp.tanh, np.array([0.3, 1.5]), Holomorphic(n))[0] for n in (4, 8, 16)
    ]
    within, beyond = np.transpose(found)
    assert within[1] < 0.1 * within[0]
    assert within[2] < 0.1 * within[1] < 1e-4
    assert min(beyond) > 0.3
    assert beyond[2] > 0.5 * beyond[0]
