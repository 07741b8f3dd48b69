"""Encoders: statistics and times of the spikes that stand for numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apical import spiking

KEY = jax.random.key(0)


# ------------------------------------------------------------------------- poisson


def test_poisson_spikes_have_their_rates_and_are_independent():
    rates, steps = jnp.array([0.0, 20.0, 100.0, 500.0]), 20_000
    spikes = np.asarray(spiking.poisson(KEY, rates, steps, dt=1e-3))
    assert spikes.shape == (steps, 4)
    assert set(np.unique(spikes)) == {0.0, 1.0}
    p = np.asarray(rates) * 1e-3
    spread = np.sqrt(p * (1 - p) / steps)
    assert (np.abs(spikes.mean(0) - p) <= 4 * spread).all()
    assert (np.abs(spikes.mean(0) - 1.3 * p)[1:] > 4 * spread[1:]).all()
    # Independent of the step before, and of each other.
    busy = spikes[:, 1:] - spikes[:, 1:].mean(0)
    sizes = (busy**2).mean(0)
    before = (busy[1:] * busy[:-1]).mean(0) / sizes
    others = (busy.T @ busy / steps) / np.sqrt(np.outer(sizes, sizes))
    assert np.abs(before).max() < 4 / steps**0.5
    assert np.abs(others - np.eye(3)).max() < 4 / steps**0.5


def test_another_key_draws_other_spikes_and_shapes_are_kept():
    rates = jnp.full((2, 3), 0.5)
    one, same = (spiking.poisson(KEY, rates, 50) for _ in range(2))
    other = spiking.poisson(jax.random.key(1), rates, 50, dtype="bfloat16")
    assert one.shape == other.shape == (50, 2, 3)
    assert (one.dtype, other.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_array_equal(one, same)
    assert (one != other).mean() > 0.3


def test_rates_may_differ_from_step_to_step():
    rates = jnp.stack([jnp.zeros(500), jnp.full(500, 0.5), jnp.ones(500)])
    spikes = spiking.poisson(KEY, rates)
    assert spikes.shape == rates.shape
    np.testing.assert_allclose(spikes.mean(1), [0, 0.5, 1], atol=0.1)


@pytest.mark.parametrize("rate", [-1.0, 1001.0, float("nan")])
def test_a_rate_that_no_step_can_hold_is_refused_or_nan(rate):
    rates = jnp.array([10.0, rate])
    with pytest.raises(ValueError, match="`rates` must be from 0 to 1 / dt = 1000"):
        spiking.poisson(KEY, rates, 5, dt=1e-3)
    found = jax.jit(lambda r: spiking.poisson(KEY, r, 5, dt=1e-3))(rates)
    assert np.isnan(found[:, 1]).all()
    assert np.isfinite(found[:, 0]).all()


# ------------------------------------------------------------------------- latency


def test_larger_numbers_spike_earlier_and_once():
    x = np.linspace(0.02, 1, 50)
    spikes = np.asarray(spiking.latency(x, 100))
    assert spikes.shape == (100, 50)
    np.testing.assert_array_equal(spikes.sum(0), 1)
    np.testing.assert_array_equal(spikes.argmax(0), np.round((1 - x) * 99))
    assert (np.diff(spikes.argmax(0)) < 0).all()


def test_with_a_time_constant_it_is_when_an_integrator_reaches_the_threshold():
    """A potential that is driven by x from 0 on: tau v' = x - v."""
    x, tau, threshold = np.array([1.0, 0.6, 0.3, 0.21, 0.2, 0.0]), 20.0, 0.2
    spikes = spiking.latency(x, 200, time_constant=tau, threshold=threshold)
    small = 1e-3
    v = x[:, None] * (1 - np.exp(-np.arange(0, 200, small) / tau))
    reached = v >= threshold
    times = np.round(reached.argmax(1) * small)
    np.testing.assert_array_equal(np.sum(spikes, 0), [1, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(np.argmax(spikes, 0)[:4], times[:4])


def test_what_is_too_small_or_too_late_gives_no_spike():
    silent = spiking.latency(jnp.array([0.0, 0.3, 0.31]), 10, threshold=0.3)
    np.testing.assert_array_equal(silent.sum(0), [0, 0, 1])
    late = spiking.latency(0.201, 20, time_constant=20.0, threshold=0.2)
    assert late.sum() == 0


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_value_out_of_its_range_is_refused_or_nan(value):
    values = jnp.array([0.5, value])
    with pytest.raises(ValueError, match="`values` must be from 0 to 1"):
        spiking.latency(values, 5)
    found = jax.jit(lambda x: spiking.latency(x, 5))(values)
    assert np.isnan(found[:, 1]).all()
    assert found[:, 0].sum() == 1


# -------------------------------------------------------------- threshold crossing


def test_crossings_are_those_of_a_loop():
    draw = np.random.default_rng(0)
    signal, levels = draw.normal(size=(40, 3)).cumsum(0), np.linspace(-2, 2, 5)
    found = np.asarray(spiking.threshold_crossing(signal, levels))
    assert found.shape == (40, 3, 10)
    expected = np.zeros_like(found)
    for t in range(1, 40):
        for n in range(3):
            for i, level in enumerate(levels):
                one, two = signal[t - 1, n], signal[t, n]
                expected[t, n, i] = one < level <= two
                expected[t, n, 5 + i] = two < level <= one
    assert expected.sum() > 20
    np.testing.assert_array_equal(found, expected)


def test_ups_less_downs_say_where_the_signal_is():
    signal = np.array([0.5, 2.0, 0.5, 1.0, -1.0])  # also exactly at a level
    up, down = np.split(
        np.asarray(spiking.threshold_crossing(signal, [1.0, 1.5])), 2, -1
    )
    np.testing.assert_array_equal((up - down).cumsum(0)[-1], [0, 0])
    np.testing.assert_array_equal(up[:, 0], [0, 1, 0, 1, 0])
    np.testing.assert_array_equal(down[:, 0], [0, 0, 1, 0, 1])


# ------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spiking.poisson(KEY, 0.1, 0), "`steps` must be a whole number >= 1"),
        (lambda: spiking.poisson(KEY, 0.1, 5, dt=0), "`dt` must be finite and above 0"),
        (lambda: spiking.latency(0.5, 2.0), "`steps` must be a whole number"),
        (
            lambda: spiking.latency(0.5, 2, threshold=2),
            "`threshold` must be from 0 to 1",
        ),
        (
            lambda: spiking.latency(0.5, 2, time_constant=9.0),
            "`threshold` must be finite",
        ),
        (
            lambda: spiking.latency(0.5, 2, time_constant=-1.0, threshold=0.1),
            "`time_constant` must be finite and above 0",
        ),
        (lambda: spiking.threshold_crossing(1.0, [0.5]), "time as its first axis"),
        (lambda: spiking.threshold_crossing(np.ones(3), 0.5), "`levels` must be a row"),
        (lambda: spiking.threshold_crossing(np.ones(3), []), "`levels` must be a row"),
        (
            lambda: spiking.threshold_crossing(np.array([0, np.nan]), [0.5]),
            "`signal` has entries that are NaN",
        ),
    ],
)
def test_arguments_out_of_their_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_signal_that_becomes_nan_while_traced_gives_nan():
    signal = jnp.array([[0.0, 0.0], [1.0, jnp.nan]])
    found = jax.jit(lambda x: spiking.threshold_crossing(x, [0.5]))(signal)
    np.testing.assert_array_equal(found[1], [[1, 0], [np.nan, np.nan]])
