"""Benchmarks of spike times: checks that do not need the other libraries."""

from functools import partial

import jax
import numpy as np
import pytest

from apical import spiking
from benchmarks import _spike_times
from benchmarks._environments import EVENTAX, JAXSNN
from benchmarks._peers import UnequalError

MINE = [np.ones((4, 3)), np.ones((5, 6)), np.ones((6, 3))]


def near(distance):
    return [value * (1 + distance) for value in MINE]


def test_results_within_what_a_method_allows_are_the_same_work():
    found = {JAXSNN.name: near(1e-6), EVENTAX.name: near(0.01)}
    told = _spike_times.require_same(MINE, found)
    assert "gradients within 1e-06" in told["jaxsnn"]
    assert "first spikes within 1e-02" in told["eventax"]


@pytest.mark.parametrize(
    ("library", "distance"),
    [(JAXSNN, 0.01), (EVENTAX, 0.2), (EVENTAX, np.nan)],
)
def test_other_results_are_refused(library, distance):
    with pytest.raises(UnequalError, match=f"{library.name} has other spikes"):
        _spike_times.require_same(MINE, {library.name: near(distance)})


def test_the_network_has_several_spikes_and_every_output_spikes():
    given = _spike_times.problem(4)
    names = ("tau_m", "tau_s", "until")
    layer = partial(
        spiking.spike_times, **{name: _spike_times.SETUP[name] for name in names}
    )

    @jax.jit
    @jax.vmap
    def run(x):
        hidden = layer(given.weights[0], x, max_spikes=_spike_times.SETUP["max_spikes"])
        return hidden, layer(given.weights[1], hidden.times, max_spikes=60)

    hidden, out = run(given.x)
    assert np.max(hidden.counts) > 2 and not np.any(hidden.overflow)
    assert np.min(out.counts) > 1 and not np.any(out.overflow)
    events = np.sum(hidden.counts, axis=1)
    longest = _spike_times.SETUP["events"]
    assert np.max(events) + 5 < longest[0]
    assert np.max(events + np.sum(out.counts, axis=1)) < longest[1]
