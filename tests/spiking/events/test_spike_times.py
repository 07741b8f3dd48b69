"""Spike times: against closed forms, a simulation by hand, and what may go wrong."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import lambertw
from support import event_networks
from support.event_networks import network

from apical import spiking

pytestmark = pytest.mark.grid(keep=3)

MS = {"tau_m": 20.0, "tau_s": 5.0}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


# ------------------------------------------------------------------ closed forms

WEIGHTS = np.linspace(4.2, 40.0, 30)[None]


def first(weights, tau_m, tau_s):
    out = spiking.spike_times(
        weights,
        jnp.zeros(1),
        tau_m=tau_m,
        tau_s=tau_s,
        max_spikes=1,
        overflow="truncate",
    )
    return out.times[:, 0]


def test_the_first_spike_with_twice_the_time_constant_is_a_quadratic():
    """V = w (x - x^2) with x = exp(-t / tau_m)."""
    x = (1 + jnp.sqrt(1 - 4 / WEIGHTS[0])) / 2
    np.testing.assert_allclose(first(WEIGHTS, 20, 10), -20 * jnp.log(x), rtol=1e-13)
    by_hand = -20 / (x * WEIGHTS[0] ** 2 * jnp.sqrt(1 - 4 / WEIGHTS[0]))
    grad = jax.grad(lambda w: jnp.sum(first(w, 20.0, 10.0)))(WEIGHTS)[0]
    np.testing.assert_allclose(grad, by_hand, rtol=1e-11)


def test_the_first_spike_with_equal_time_constants_is_lamberts_function():
    """V = w s exp(-s), s = t / tau, so that s = -W(-1 / w)."""
    s = -lambertw(-1 / WEIGHTS[0]).real
    np.testing.assert_allclose(first(WEIGHTS, 10, 10), 10 * s, rtol=1e-13)
    by_hand = -10 * s / ((1 - s) * WEIGHTS[0])
    grad = jax.grad(lambda w: jnp.sum(first(w, 10.0, 10.0)))(WEIGHTS)[0]
    np.testing.assert_allclose(grad, by_hand, rtol=1e-11)


def test_near_equal_time_constants_it_stays_exact():
    equal = first(WEIGHTS, 10.0, 10.0)
    for eps in (1e-6, 1e-9, 1e-12):
        near = first(WEIGHTS, 10.0, 10.0 * (1 + eps))
        np.testing.assert_allclose(near, equal, atol=20 * eps + 1e-13)


def test_single_precision_is_single_precision():
    with jax.enable_x64(False):
        single = first(jnp.asarray(WEIGHTS, jnp.float32), 20.0, 5.0)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, first(WEIGHTS, 20.0, 5.0), rtol=2e-5)


# ------------------------------------------------------------------ by hand

SPIKES = 12
CASES = {
    "delays": {},
    "no delays": {"delays": np.zeros((4, 6)), "recurrent_delays": np.zeros((6, 6))},
    "equal": {"tau_m": 8.0, "tau_s": 8.0, "until": 25.0},
    "slow synapses": {"tau_m": 5.0, "tau_s": 8.0, "until": 20.0},
    "no loop": {"recurrent": np.zeros((6, 6))},
}


@functools.cache
def by_hand(name):
    net = network(3, **CASES[name])
    if net.tau_s > 5:
        net = net._replace(weights=net.weights / 2, recurrent=net.recurrent / 2)
    return net, event_networks.simulate(net)


def solved(net, max_spikes=SPIKES, loop=True, **given):
    extra = {"recurrent": net.recurrent, "recurrent_delays": net.recurrent_delays}
    return spiking.spike_times(
        net.weights,
        net.times,
        tau_m=net.tau_m,
        tau_s=net.tau_s,
        delays=net.delays,
        max_spikes=max_spikes,
        until=net.until,
        **(extra if loop else {}),
        **given,
    )


@pytest.mark.parametrize("name", CASES)
def test_recurrent_networks_spike_as_one_simulated_by_hand(name):
    net, events = by_hand(name)
    expected = event_networks.spike_times(net, events, SPIKES)
    assert np.isfinite(expected).sum() > 15
    out = solved(net)
    np.testing.assert_allclose(out.times, expected, rtol=1e-11)
    np.testing.assert_array_equal(out.counts, np.isfinite(expected).sum(axis=1))
    assert not np.any(out.overflow)
    np.testing.assert_array_equal(out.complete_until, net.until)


def test_without_a_loop_both_ways_to_simulate_agree():
    net, _ = by_hand("no loop")
    one, other = solved(net), solved(net, loop=False)
    np.testing.assert_allclose(one.times, other.times, rtol=1e-12)
    net, _ = by_hand("delays")
    assert not np.allclose(solved(net).times, solved(net, loop=False).times)


@pytest.mark.parametrize("loop", [True, False])
def test_a_scalar_delay_is_the_same_as_one_for_each_synapse(loop):
    net = network(3, delays=np.float64(1.5), recurrent_delays=np.float64(0.7))
    full = net._replace(
        delays=np.full((4, 6), 1.5), recurrent_delays=np.full((6, 6), 0.7)
    )
    np.testing.assert_allclose(
        solved(net, loop=loop).times, solved(full, loop=loop).times, rtol=1e-12
    )


@pytest.mark.parametrize("loop", [True, False])
def test_the_order_of_input_spikes_and_missing_ones_do_not_matter(loop):
    net, _ = by_hand("delays")
    missing = np.full((4, 2), np.inf)
    shuffled = np.concatenate([net.times[:, ::-1], missing], axis=1)
    np.testing.assert_allclose(
        solved(net._replace(times=shuffled), loop=loop).times,
        solved(net, loop=loop).times,
        rtol=1e-12,
    )


@pytest.mark.parametrize("loop", [True, False])
def test_examples_by_vmap_are_examples_one_by_one(loop):
    net, _ = by_hand("delays")
    times = np.stack([net.times, net.times[::-1], net.times + np.arange(4)[:, None]])

    def of(times):
        return solved(net._replace(times=times), loop=loop)

    together = jax.jit(jax.vmap(of))(times)
    for index, one in enumerate(times):
        alone = of(one)
        np.testing.assert_allclose(together.times[index], alone.times, rtol=1e-12)
        np.testing.assert_array_equal(together.counts[index], alone.counts)


def test_simultaneous_inputs_act_together():
    w = jnp.array([[3.0], [4.0]])
    both = spiking.spike_times(w, jnp.zeros(2), max_spikes=3, **MS)
    one = spiking.spike_times(w.sum(0, keepdims=True), jnp.zeros(1), max_spikes=3, **MS)
    np.testing.assert_allclose(both.times, one.times, rtol=1e-13)


# ------------------------------------------------------------------ silence, overflow


def test_a_silent_neuron_is_infinite_and_has_no_gradient():
    weights = jnp.array([[1.0, 9.0]])

    def total(w, t):
        times = spiking.spike_times(w, t, max_spikes=3, **MS).times
        return jnp.sum(jnp.where(times < jnp.inf, times, 7.0))

    out = spiking.spike_times(weights, jnp.zeros(1), max_spikes=3, **MS)
    assert np.all(np.isinf(out.times[0])) and out.counts[0] == 0 and out.counts[1] > 0
    by_weight, by_time = jax.grad(total, (0, 1))(weights, jnp.zeros(1))
    assert by_weight[0, 0] == 0 and np.isfinite(by_weight[0, 1]) and by_weight[0, 1] < 0
    np.testing.assert_allclose(by_time, out.counts[1])  # all spikes move with it


def test_without_any_input_nothing_happens():
    inputs = jnp.full((2, 3), jnp.inf)
    weights = jnp.ones((2, 4))

    def total(w, t):
        times = spiking.spike_times(w, t, max_spikes=2, **MS).times
        return jnp.sum(jnp.where(times < jnp.inf, times, 0.0))

    for grad in jax.grad(total, (0, 1))(weights, inputs):
        np.testing.assert_array_equal(grad, 0)


def test_inputs_and_spikes_after_the_end_do_not_count():
    weights = jnp.array([[9.0], [9.0]])
    inputs = jnp.array([0.0, 30.0])
    early = spiking.spike_times(weights, inputs, max_spikes=9, until=20.0, **MS)
    alone = spiking.spike_times(weights[:1], inputs[:1], max_spikes=9, **MS)
    np.testing.assert_allclose(early.times, alone.times)
    at = float(early.times[0, 0])
    before = spiking.spike_times(weights, inputs, max_spikes=9, until=at - 1e-9, **MS)
    assert before.counts[0] == 0


@pytest.mark.parametrize("loop", [True, False])
def test_too_many_spikes_raise_or_are_told(loop):
    net, _ = by_hand("no loop")
    whole = solved(net)
    most = int(whole.counts.max())
    with pytest.raises(ValueError, match=f"more than {most - 1} times.*max_spikes"):
        solved(net, most - 1, loop)
    told = jax.jit(lambda: solved(net, most - 1, loop))()
    assert np.all(np.isnan(told.times))
    cut = solved(net, most - 1, loop, overflow="truncate")
    np.testing.assert_array_equal(cut.overflow, whole.counts == most)
    lost = np.where(whole.counts == most, whole.times[:, most - 1], net.until)
    expected = np.full(6, lost.min()) if loop else lost
    np.testing.assert_allclose(cut.complete_until, expected)
    known = np.asarray(whole.times)[:, : most - 1] < expected[:, None]
    there = np.asarray(cut.times)[known]
    np.testing.assert_allclose(there, np.asarray(whole.times)[:, : most - 1][known])


def test_what_a_loop_is_told_to_be_complete_is_complete():
    net, events = by_hand("delays")
    expected = event_networks.spike_times(net, events, SPIKES)
    cut = solved(net, 4, overflow="truncate")
    assert np.any(cut.overflow)
    end = float(cut.complete_until[0])
    assert 0 < end < net.until
    end -= 1e-9  # the lost spike itself
    found = np.sort(np.ravel(cut.times[cut.times < end]))
    np.testing.assert_allclose(found, np.sort(expected[expected < end]), rtol=1e-11)


# ------------------------------------------------------------------ refusals

GOOD = {
    "weights": np.full((2, 3), 9.0),
    "input_times": np.zeros(2),
    "max_spikes": 5,
    **MS,
}


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"weights": np.ones(3)}, ValueError, r"`weights`.*\[inputs, n\]"),
        ({"input_times": np.zeros(3)}, ValueError, r"`input_times`.*\[2\].*vmap"),
        ({"input_times": np.zeros((7, 2, 3))}, ValueError, "vmap"),
        ({"weights": np.ones((2, 3)) * 1j}, TypeError, "real numbers"),
        ({"delays": np.ones((3, 2))}, ValueError, r"`delays`.*\[2, 3\]"),
        ({"recurrent": np.ones((2, 2))}, ValueError, r"`recurrent`.*\[3, 3\]"),
        ({"tau_m": np.ones(3)}, ValueError, "`tau_m` must be one number"),
        ({"max_spikes": 0}, ValueError, "`max_spikes`.*positive int"),
        ({"max_spikes": 2.0}, ValueError, "`max_spikes`.*positive int"),
        ({"overflow": "drop"}, ValueError, "'error' or 'truncate'"),
        (
            {"recurrent": np.eye(3), "recurrent_delays": np.ones(2)},
            ValueError,
            "`recurrent_delays`",
        ),
    ],
)
def test_shapes_and_options_that_do_not_fit_are_refused(given, error, words):
    with pytest.raises(error, match=words):
        spiking.spike_times(**{**GOOD, **given})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"weights": np.full((2, 3), np.nan)}, "`weights` must be finite"),
        ({"input_times": np.array([0, np.nan])}, "`input_times` must not be NaN"),
        ({"input_times": np.array([0, -np.inf])}, "`input_times` must not be NaN"),
        ({"delays": -1.0}, "`delays` must be finite and not negative"),
        ({"tau_m": 0.0}, "`tau_m` must be finite and positive"),
        ({"tau_s": -1.0}, "`tau_s` must be finite and positive"),
        ({"threshold": np.nan}, "`threshold` must be finite and positive"),
        ({"until": np.nan}, "`until` must not be NaN"),
        ({"recurrent": np.full((3, 3), np.inf)}, "`recurrent` must be finite"),
        (
            {"recurrent": np.eye(3), "recurrent_delays": -1.0},
            "`recurrent_delays` must be finite and not negative",
        ),
    ],
)
def test_values_without_meaning_raise_and_are_nan_under_jit(given, words):
    told = {**GOOD, **given}
    with pytest.raises(ValueError, match=words):
        spiking.spike_times(**told)
    rest = {name: value for name, value in told.items() if name not in given}
    times = jax.jit(lambda given: spiking.spike_times(**given, **rest).times)(given)
    assert np.all(np.isnan(times))


def test_the_good_call_is_good():
    out = spiking.spike_times(**GOOD)
    assert np.all(out.counts == 3) and not np.any(np.isnan(out.times))
