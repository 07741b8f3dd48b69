"""Read-outs, beside numpy for each example alone, and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apical import spiking

T, B, N = 12, 4, 3
DRAW = np.random.default_rng(0)
POTENTIALS = DRAW.normal(size=(T, B, N)).astype(np.float32)
SPIKES = (DRAW.random((T, B, N)) < 0.15).astype(np.float32)
LENGTHS = np.array([12, 1, 5, 8])


def first(spikes):
    """By a search, along the first axis."""
    return np.where(spikes.any(0), spikes.argmax(0), len(spikes))


READOUTS = {
    "firing_rate": (SPIKES, lambda each: each.mean(0)),
    "last_potential": (POTENTIALS, lambda each: each[-1]),
    "peak_potential": (POTENTIALS, lambda each: each.max(0)),
    "first_spike_time": (SPIKES, first),
}


@pytest.mark.parametrize("name", READOUTS)
def test_a_readout_is_that_of_numpy(name):
    sequence, by_hand = READOUTS[name]
    readout = getattr(spiking, name)
    np.testing.assert_allclose(readout(sequence), by_hand(sequence), rtol=1e-6)
    found = jax.jit(readout)(sequence, LENGTHS)
    each = [by_hand(sequence[:n, b]) for b, n in enumerate(LENGTHS)]
    np.testing.assert_allclose(found, each, rtol=1e-6)
    assert np.abs(found - readout(sequence)).max() > 1e-3  # lengths do something


@pytest.mark.parametrize("name", READOUTS)
def test_lengths_of_all_steps_change_nothing_and_of_each_neuron_are_taken(name):
    sequence, by_hand = READOUTS[name]
    readout = getattr(spiking, name)
    whole = readout(sequence)
    np.testing.assert_allclose(readout(sequence, np.array(T)), whole, rtol=1e-6)
    lengths = np.arange(1, 1 + B * N).reshape(B, N)
    found = readout(sequence, lengths)
    assert found[1, 2] == pytest.approx(by_hand(sequence[:6, 1, 2]), rel=1e-6)


@pytest.mark.parametrize("name", READOUTS)
def test_what_comes_after_the_length_has_no_gradient(name):
    sequence, _ = READOUTS[name]
    readout = getattr(spiking, name)
    grads = jax.grad(lambda s: readout(s, LENGTHS).sum())(jnp.asarray(sequence))
    for b, n in enumerate(LENGTHS):
        assert not np.any(grads[n:, b])
        assert np.any(grads[:n, b])


def test_the_derivative_of_the_first_time_is_its_change_with_each_spike():
    spikes = np.array([0, 0, 1, 0, 0, 1, 0], np.float32)
    grads = jax.grad(spiking.first_spike_time)(jnp.asarray(spikes))
    changes = []
    for t in range(7):
        pair = np.stack([spikes, spikes], 1)
        pair[t] = [0, 1]
        without, with_it = first(pair)
        changes.append(with_it - without)
    np.testing.assert_array_equal(changes, [-2, -1, -3, 0, 0, 0, 0])
    np.testing.assert_array_equal(grads, changes)
    none = jax.grad(spiking.first_spike_time)(jnp.zeros(3))
    np.testing.assert_array_equal(none, [-3, -2, -1])


def test_the_gradient_of_the_peak_goes_to_its_step():
    grads = jax.grad(lambda v: spiking.peak_potential(v).sum())(jnp.asarray(POTENTIALS))
    np.testing.assert_array_equal(grads, POTENTIALS.max(0) == POTENTIALS)


@pytest.mark.parametrize("name", READOUTS)
@pytest.mark.parametrize("length", [0, T + 1])
def test_a_length_out_of_its_range_is_refused_or_nan(name, length):
    sequence, _ = READOUTS[name]
    readout = getattr(spiking, name)
    lengths = np.array([T, T, length, T])
    with pytest.raises(ValueError, match="`lengths` must be from 1 to the number"):
        readout(sequence, lengths)
    found = np.asarray(jax.jit(readout)(sequence, lengths))
    assert np.isnan(found[2]).all()
    assert np.isfinite(found[[0, 1, 3]]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spiking.firing_rate(1.0), "time as its first axis"),
        (lambda: spiking.peak_potential(np.zeros((0, 3))), "time as its first axis"),
        (lambda: spiking.firing_rate(SPIKES > 0), "`spikes` must be floating point"),
        (lambda: spiking.firing_rate(SPIKES, LENGTHS * 1.0), "whole numbers"),
        (lambda: spiking.firing_rate(SPIKES, np.ones(3, int)), r"axes after time are"),
    ],
)
def test_what_is_no_sequence_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", READOUTS)
def test_readouts_keep_the_dtype(name):
    sequence, _ = READOUTS[name]
    found = getattr(spiking, name)(jnp.asarray(sequence, "bfloat16"), LENGTHS)
    assert found.dtype == "bfloat16"
