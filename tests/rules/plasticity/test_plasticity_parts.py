"""Bounds, homeostasis and normalisation: each by hand, on the same spikes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.spiking_layers import PARAMS, STILL, X, change, ends, learner_of

from apical.rules import (
    STDP,
    AdditiveBounds,
    AllPairs,
    DivisiveNormalisation,
    MultiplicativeBounds,
    SubtractiveNormalisation,
    SynapticScaling,
    Unbounded,
)

pytestmark = pytest.mark.grid(keep=3)

PAIRS = AllPairs(0.3, 0.2, 5.0, 8.0)
PLUS, _ = change(STDP(AllPairs(0.3, 0.0, 5.0, 8.0)))
MINUS, _ = change(STDP(AllPairs(0.0, 0.2, 5.0, 8.0)))
W = np.asarray(PARAMS["first"])


def close(found, expected):
    assert np.max(np.abs(found - expected)) < 1e-5 * np.max(np.abs(expected))


@pytest.mark.parametrize(("mu_plus", "mu_minus"), [(1, 1), (0, 1), (0.5, 2.0), (0, 0)])
def test_multiplicative_bounds_weigh_both_sums(mu_plus, mu_minus):
    bounds = MultiplicativeBounds(-0.5, 1.5, mu_plus, mu_minus)
    found, _ = change(STDP(PAIRS, bounds))
    v = (W + 0.5) / 2.0
    close(
        found["first"],
        (1 - v) ** mu_plus * PLUS["first"] + v**mu_minus * MINUS["first"],
    )


def test_additive_bounds_stop_a_change_that_leads_out():
    found, _ = change(STDP(PAIRS, AdditiveBounds(0.2, 0.6)))
    expected = (W < 0.6) * PLUS["first"] + (W > 0.2) * MINUS["first"]
    close(found["first"], expected)
    assert np.mean(W < 0.2) > 0 and np.mean(W > 0.6) > 0
    free, _ = change(STDP(PAIRS, Unbounded()))
    assert np.max(np.abs(free["first"] - expected)) > 0.1 * np.max(np.abs(expected))


def test_an_exponent_has_a_slope_at_a_bound():
    def total(mu):
        plus, minus = MultiplicativeBounds(0.0, 1.0, mu, mu).factors(jnp.arange(2.0))
        return jnp.sum(plus + minus)

    assert np.isfinite(float(jax.grad(total)(0.5)))


@pytest.mark.parametrize("bounds", [AdditiveBounds, MultiplicativeBounds])
def test_bounds_must_be_in_order(bounds):
    with pytest.raises(ValueError, match="`low` must be below `high`"):
        bounds(1.0, 0.5)


def test_scaling_follows_the_distance_of_the_rate_to_its_target():
    scaling = SynapticScaling(0.3, 0.05, 12.0)
    found, credit = change(STDP(AllPairs(0.0, 0.0), homeostasis=scaling))
    _, z = ends()["first"]
    kept, rate, total = np.exp(-1 / 12), np.full(4, 0.3), 0.0
    for spikes in z.mean(axis=1):
        rate = kept * rate + (1 - kept) * spikes
        total = total + 0.05 * W * (0.3 - rate)
    close(found["first"], total)
    close(np.asarray(credit.state.rates[0])[0], rate)


def test_scaling_brings_a_rate_to_its_target():
    scaling = SynapticScaling(0.25, 0.05, 10.0)
    learner = learner_of(STDP(AllPairs(0.0, 0.0), homeostasis=scaling))
    params, state = PARAMS, learner.init(jax.random.key(0), PARAMS, STILL, X)
    call = jax.jit(learner)
    first = call(params, state, STILL, X).info.unit_rates[0]
    for _ in range(60):
        credit = call(params, state, STILL, X)
        state = credit.state
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, credit.grads)
    rate = float(call(params, state, STILL, X).info.unit_rates[0])
    assert abs(float(first) - 0.25) > 0.1 and abs(rate - 0.25) < 0.06


def test_subtractive_normalisation_keeps_the_sum_of_a_units_weights():
    rule = STDP(PAIRS, normalisation=SubtractiveNormalisation())
    found, _ = change(rule)
    plain = PLUS["first"] + MINUS["first"]
    close(found["first"], plain - plain.mean(axis=0))
    assert np.max(np.abs(plain.sum(axis=0))) > 1.0


def test_divisive_normalisation_brings_the_sum_to_the_total():
    steps = len(X)
    normal = DivisiveNormalisation(2.0, 1 / steps)
    _, credit = change(STDP(AllPairs(0.0, 0.0), normalisation=normal))
    moved = optax.apply_updates(PARAMS, jax.tree.map(jnp.negative, credit.grads))
    close(np.asarray(moved["first"]).sum(axis=0), np.full(4, 2.0))
    close(np.asarray(moved["second"]).sum(axis=0), np.full(3, 2.0))


def test_a_unit_without_weights_is_left_alone():
    normal = DivisiveNormalisation(2.0, 0.1)
    params = {**PARAMS, "first": PARAMS["first"].at[:, 1].set(0.0)}
    found, _ = change(STDP(AllPairs(0.0, 0.0), normalisation=normal), params=params)
    assert np.all(found["first"][:, 1] == 0) and np.all(found["first"][:, 0] != 0)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: SynapticScaling(target=-1.0), "target"),
        (lambda: DivisiveNormalisation(total=0.0), "total"),
        (lambda: MultiplicativeBounds(mu_plus=-1.0), "mu_plus"),
    ],
)
def test_numbers_of_parts_are_checked(make, named):
    with pytest.raises(ValueError, match=f"`{named}` must be a finite number"):
        make()
