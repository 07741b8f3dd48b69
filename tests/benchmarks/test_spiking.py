"""The benchmark of spiking neurons: checks that do not need the other libraries."""

from dataclasses import replace

import numpy as np
import pytest
from support.neurons_by_hand import lif_by_hand

from benchmarks import _spiking
from benchmarks._environments import Worker
from benchmarks._peers import UnequalError, read

DRAW = np.random.default_rng(0)
SPIKES = (DRAW.random((20, 50, 20)) < 0.2).astype(np.float32)
GRADIENT = DRAW.normal(size=(5, 6))


def test_equal_work_is_said_with_how_much_of_it_there_is():
    shorter = SPIKES[:-1].copy()
    shorter[0, 0, 0] = 1 - shorter[0, 0, 0]  # one potential at the threshold
    told = _spiking.require_equal_spikes(SPIKES, shorter, "a peer")
    assert told == "spikes equal but for 5e-05, 20% of neurons in a step"
    told = _spiking.require_equal_gradients(GRADIENT, 1.0001 * GRADIENT, "a peer")
    assert told == "gradients within 1e-04"


@pytest.mark.parametrize(
    "other",
    [np.roll(SPIKES, 1, 0), SPIKES[:-2], np.full_like(SPIKES, np.nan)],
    ids=["a step later", "two steps fewer", "no numbers"],
)
def test_other_spikes_are_refused(other):
    with pytest.raises(UnequalError, match="of all spikes of a peer are not"):
        _spiking.require_equal_spikes(SPIKES, other, "a peer")


def test_neurons_that_are_silent_are_no_work():
    silent = np.zeros_like(SPIKES)
    with pytest.raises(UnequalError, match="0% of the neurons spike"):
        _spiking.require_equal_spikes(silent, silent, "a peer")


@pytest.mark.parametrize("other", [1.1 * GRADIENT, np.nan * GRADIENT, GRADIENT[::-1]])
def test_another_gradient_is_refused(other):
    with pytest.raises(UnequalError, match="The gradient of a peer"):
        _spiking.require_equal_gradients(GRADIENT, other, "a peer")


def test_the_worker_of_apical_does_what_it_is_asked_for(tmp_path):
    problem = _spiking.problem_of(12, 3, 8)
    path = str(tmp_path / "problem.npz")
    problem.save(path)
    currents = problem.x @ problem.weights[0]
    gradients = []
    with Worker(_spiking.APICAL) as worker:
        for against in (_spiking.AGAINST[0], _spiking.AGAINST[2]):
            for folded in (True, False):
                told = {"problem": path, **replace(against, folded=folded).told}
                found = worker.ask("build", name="a", way="forward", **told)
                (spikes,) = read(found["values"])
                _, expected = lif_by_hand(currents, 0.9, reset=against.reset)
                np.testing.assert_array_equal(spikes, expected)
                found = worker.ask("build", name="b", way="both", **told)
                gradients += read(found["grads"])
                assert worker.ask("time", name="b", repeats=1)["seconds"] > 0
    attached, same, detached, _ = gradients
    np.testing.assert_allclose(attached, same, rtol=1e-4, atol=1e-5)
    assert np.abs(attached - detached).max() > 1e-2


def test_each_limit_is_the_one_of_the_issue():
    assert _spiking._LIMIT == 1.1
    assert {a.library.name for a in _spiking.AGAINST} == {"spyx", "snntorch", "norse"}
