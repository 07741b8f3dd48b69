"""The largest potential, against a fine grid and central differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apical import spiking


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def network(seed=0, until=jnp.inf):
    draw = np.random.default_rng(seed)
    weights = jnp.array(draw.normal(0.3, 1.5, (4, 40)))
    times = jnp.array(draw.uniform(0, 30, (4, 3)))
    delays = jnp.array(draw.uniform(0, 3, (4, 40)))
    return weights, times, delays, until


def peaks(weights, times, delays, until):
    given = {"tau_m": 20.0, "tau_s": 5.0, "until": until}
    return spiking.subthreshold_peak(weights, times, delays=delays, **given)


@pytest.mark.parametrize("until", [jnp.inf, 14.0])
def test_it_is_the_largest_value_on_a_fine_grid(until):
    weights, times, delays, _ = network()
    grid = np.linspace(0, min(until, 120), 40001)
    highest = np.zeros(40)
    for j in range(40):
        v = np.zeros_like(grid)
        for i, s in np.ndindex(times.shape):
            lag = np.maximum(grid - float(times[i, s] + delays[i, j]), 0)
            v += float(weights[i, j]) * (np.exp(-lag / 20) - np.exp(-lag / 5)) / 3
        highest[j] = max(v.max(), 0)
    found = peaks(weights, times, delays, until)
    np.testing.assert_allclose(found, highest, atol=1e-4)
    assert np.any(highest == 0) and np.sum(highest > 0.3) > 10


def test_its_gradient_is_by_central_differences_also_where_inhibition_ends_the_rise():
    weights, times, delays, _ = network()
    call = jax.jit(lambda w, t, d: jnp.sum(peaks(w, t, d, jnp.inf) ** 2))
    grads = jax.jit(jax.grad(call, (0, 1, 2)))(weights, times, delays)
    args = (weights, times, delays)
    for number, grad in enumerate(grads):
        flat = args[number].size
        directions = jnp.eye(flat)[: min(flat, 60)].reshape(-1, *args[number].shape)

        def moved(direction, number=number):
            shifted = [list(args), list(args)]
            for sign, each in zip((1, -1), shifted, strict=True):
                each[number] = each[number] + sign * 1e-6 * direction
            return (call(*shifted[0]) - call(*shifted[1])) / 2e-6

        expected = jax.jit(jax.vmap(moved))(directions)
        np.testing.assert_allclose(
            np.ravel(grad)[: len(expected)], expected, rtol=1e-5, atol=1e-7
        )


def test_a_rise_that_inhibition_ends_moves_with_the_inhibition():
    """By hand: the peak stands at t_1, so that dV/dt_1 = V'(t_1)."""
    weights, times = jnp.array([[2.0], [-9.0]]), jnp.array([0.0, 3.0])

    def peak(times):
        return spiking.subthreshold_peak(weights, times, tau_m=20.0, tau_s=5.0)[0]

    slow, fast = np.exp(-3 / 20), np.exp(-3 / 5)
    np.testing.assert_allclose(peak(times), 2 / 3 * (slow - fast), rtol=1e-13)
    slope = 2 / 3 * (-slow / 20 + fast / 5)
    np.testing.assert_allclose(jax.grad(peak)(times), [-slope, slope], rtol=1e-12)


def test_a_neuron_spikes_if_and_only_if_its_peak_is_above_the_threshold():
    weights, times, delays, _ = network(1)
    out = spiking.spike_times(
        weights,
        times,
        delays=delays,
        tau_m=20.0,
        tau_s=5.0,
        max_spikes=8,
        overflow="truncate",
    )
    peak = peaks(weights, times, delays, jnp.inf)
    np.testing.assert_array_equal(out.counts > 0, peak >= 1)
    assert 5 < np.sum(out.counts > 0) < 35


def test_a_neuron_that_is_only_inhibited_rests_and_learns_nothing():
    weights = jnp.array([[-1.0, 0.0]])

    def total(w):
        found = spiking.subthreshold_peak(w, jnp.zeros(1), tau_m=20.0, tau_s=5.0)
        return jnp.sum(found)

    assert total(weights) == 0
    np.testing.assert_array_equal(jax.grad(total)(weights), 0)


def test_what_means_nothing_is_refused():
    with pytest.raises(ValueError, match="`weights` must be finite"):
        spiking.subthreshold_peak(
            np.full((1, 1), np.nan), np.zeros(1), tau_m=2.0, tau_s=1.0
        )
