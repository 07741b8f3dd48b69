"""Boltzmann machine and Hopfield network against sums over all states and by hand."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.examples import example

from apical.rules import Backpropagation, FeedbackAlignment

rbm, hopfield = example("boltzmann_machine"), example("hopfield_unlearning")
ising = example("ising_lattice")

# ---- Restricted Boltzmann machine


@pytest.fixture(scope="module")
def machine():
    """Parameters that are not near 0."""
    keys = jax.random.split(jax.random.key(0), 3)
    return {
        "w": jax.random.normal(keys[0], (rbm.PIXELS, rbm.HIDDEN)) / 2,
        "visible": jax.random.normal(keys[1], (rbm.PIXELS,)),
        "hidden": jax.random.normal(keys[2], (rbm.HIDDEN,)),
    }


def joint(params):
    """The probability of all states of both layers, [2^9, 2^8], by their energy."""
    v, h = (np.array(list(product((0, 1), repeat=n))) for n in (9, 8))
    p = jax.tree.map(np.float64, params)
    energy = -(v @ p["visible"])[:, None] - h @ p["hidden"] - v @ p["w"] @ h.T
    chance = np.exp(-energy)
    return v, h, chance / chance.sum()


def test_the_likelihood_is_that_of_the_sum_over_both_layers(machine):
    v, _, chance = joint(machine)
    found = np.exp(np.float64(rbm.log_likelihood(machine, np.float32(v))))
    np.testing.assert_allclose(found, chance.sum(1), rtol=1e-4)


def test_with_dreams_of_the_machine_itself_the_update_is_that_of_the_likelihood(
    machine,
):
    v, h, chance = joint(machine)
    x, probability = rbm.bars()
    of_h = 1 / (1 + np.exp(-np.float64(x @ machine["w"] + machine["hidden"])))
    by_hand = {
        "w": v.T @ chance @ h - (probability[:, None] * x).T @ of_h,
        "visible": chance.sum(1) @ v - probability @ x,
        "hidden": chance.sum(0) @ h - probability @ of_h,
    }
    exact = jax.jit(jax.grad(rbm.missing))(machine, x, probability)
    many = jax.random.key(1), 60000
    rows = jax.random.choice(many[0], len(x), (many[1],), p=probability)
    dreams = jax.random.choice(many[0], len(v), (many[1],), p=chance.sum(1))
    args = jnp.asarray(x)[rows], jnp.float32(v)[dreams]
    found = jax.jit(jax.grad(rbm.contrastive_loss))(machine, *args)
    for name, gradient in by_hand.items():
        np.testing.assert_allclose(exact[name], gradient, atol=1e-5)
        np.testing.assert_allclose(found[name], gradient, atol=0.01)
    alone = jax.grad(rbm.only_data_loss)(machine, *args)  # the control
    assert jnp.abs(alone["w"] - by_hand["w"]).max() > 0.1


def test_gibbs_sampling_draws_from_the_machine(machine):
    v, _, chance = joint(machine)
    begin = jnp.zeros((20000, rbm.PIXELS))
    drawn = jax.jit(rbm.gibbs, static_argnums=3)(machine, begin, jax.random.key(3), 30)
    np.testing.assert_allclose(drawn.mean(0), chance.sum(1) @ v, atol=0.015)


# ---- Hopfield network


def outer(states):
    """The sum of s sᵀ, without the diagonal."""
    states = np.float64(states)
    return states.T @ states - len(states) * np.eye(states.shape[1])


@pytest.fixture(scope="module")
def patterns():
    return hopfield.random_states(jax.random.key(1), 60)


def test_the_update_of_the_energy_is_hebbs_rule(patterns):
    by_hand = outer(patterns) / hopfield.UNITS
    for rule in (Backpropagation(), FeedbackAlignment()):
        np.testing.assert_allclose(hopfield.hebb(rule, patterns), by_hand, atol=1e-6)


def test_the_network_settles_where_no_unit_would_change(patterns):
    weights = hopfield.hebb(Backpropagation(), patterns)
    start = hopfield.random_states(jax.random.key(2), 5)
    end = jax.jit(hopfield.settle, static_argnums=3)(
        weights, start, jax.random.key(3), 40
    )
    assert jnp.all(end @ weights * end > -1e-5)
    assert not jnp.all(start @ weights * start > -1e-5)
    assert jnp.all(hopfield.energy(weights, end) < hopfield.energy(weights, start))


def test_a_dream_lowers_what_was_dreamt_by_hand(patterns, key):
    weights = hopfield.hebb(Backpropagation(), patterns)
    (after,) = hopfield.dream(Backpropagation(), weights, key, 1)
    change = np.float64(after - weights)
    start, order = jax.random.split(jax.random.split(key, 1)[0])
    dreams = hopfield.settle(weights, hopfield.random_states(start, 20), order)
    by_hand = -0.02 * outer(dreams) / hopfield.UNITS
    np.testing.assert_allclose(change, by_hand, atol=1e-6)


def test_dreams_let_the_network_recall_what_it_could_not(patterns, key):
    few = hopfield.random_states(key, 15)
    recall = jax.jit(hopfield.overlap)
    weights = hopfield.hebb(FeedbackAlignment(), patterns)
    assert recall(hopfield.hebb(FeedbackAlignment(), few), few, key) > 0.99
    assert recall(weights, patterns, key) < 0.6
    dreamt = jax.jit(lambda w: hopfield.dream(FeedbackAlignment(), w, key, 30)[-1])
    assert recall(dreamt(weights), patterns, key) > 0.85


# ---- A lattice of spins


def test_the_moments_of_a_lattice_are_sums_over_all_states():
    params = ising.machine(jax.random.key(0), 2, 0.5)
    pairs, (even, odd) = ising.lattice(2)
    assert {*even} == {0, 3} and {*odd} == {1, 2}
    states = np.array(list(product((-1, 1), repeat=4)))
    chance = np.exp(
        [
            sum(b * s for b, s in zip(np.float64(params["b"]), row, strict=True))
            + sum(
                j * row[a] * row[b]
                for j, (a, b) in zip(np.float64(params["J"]), pairs, strict=True)
            )
            for row in states
        ]
    )
    chance /= chance.sum()
    means, products = ising.exact_moments(params, 2)
    np.testing.assert_allclose(means, chance @ states, rtol=1e-4, atol=1e-6)
    both = states[:, pairs[:, 0]] * states[:, pairs[:, 1]]
    np.testing.assert_allclose(products, chance @ both, rtol=1e-4, atol=1e-6)


@pytest.mark.sweep
def test_what_thrml_draws_has_the_moments_of_all_states():
    pytest.importorskip("thrml")
    side, many = 4, 4000
    params = ising.machine(jax.random.key(0), side, 0.3)
    start = jnp.ones((many, side**2))
    draw = jax.jit(lambda s: ising.sampler(side)(params, s, jax.random.key(1), 40))
    spins, (pairs, _) = draw(start), ising.lattice(side)
    means, products = ising.exact_moments(params, side)
    both = spins[:, pairs[:, 0]] * spins[:, pairs[:, 1]]
    noise = 4.5 / many**0.5  # of 48 means
    np.testing.assert_allclose(spins.mean(0), means, atol=noise)
    np.testing.assert_allclose(both.mean(0), products, atol=noise)
    assert np.abs(means).max() > 3 * noise  # the control
