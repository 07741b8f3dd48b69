"""Groups of runs that fit into memory, and calls of several at a time."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.lab_runs import epochs, trainer

from apical.lab._registry import RULES
from apical.lab.training import _train
from apical.lab.training._call_groups import bytes_of_call, memory_of, size_that_fits
from apical.lab.training._compiled_calls import CompiledCalls


def test_the_memory_of_this_machine_is_known():
    found = memory_of(jax.devices("cpu")[0])
    assert found is None or found > 2**28


def test_a_call_needs_its_arguments_results_and_what_lies_between():
    x = jnp.zeros((1000, 1000))
    compiled = jax.jit(lambda x: jnp.sort(x @ x, axis=0) @ x).lower(x).compile()
    assert 2 * x.nbytes <= bytes_of_call(compiled) < 20 * x.nbytes


def test_too_little_memory_for_one_run_leaves_one():
    assert size_that_fits(5, lambda size: size, 0) == 1


@pytest.mark.parametrize("runs", [2, 3])
def test_runs_in_groups_that_fit_equal_runs_at_once(monkeypatch, runs):
    seeds = tuple(range(runs))
    whole = trainer("kolen-pollack", seeds)
    needed = []

    def little(compiled):
        needed.append(bytes_of_call(compiled))
        return needed[-1]

    monkeypatch.setattr(_train, "bytes_of_call", little)
    begun = whole.begin()
    assert whole.fitted(begun) is begun and len(needed) == 1
    monkeypatch.setattr(_train, "memory_of", lambda device: needed[0] - 1)
    made = trainer("kolen-pollack", seeds)
    fitted = made.fitted(made.begin())
    assert len(made.groups) == len(fitted.learned) == 2
    pairs = zip(_train.train(made, fitted), epochs(whole), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one.scores.loss, other.scores.loss, rtol=1e-5)
        hidden = one.alignment.hidden, other.alignment.hidden
        np.testing.assert_allclose(*hidden, rtol=1e-4)


def test_fewer_calls_are_made_at_a_time_where_memory_is_short(monkeypatch):
    made = trainer("backpropagation", (0, 1))
    made = _train.Trainer(made.setup, RULES["backpropagation"], made.runs, apart=True)
    monkeypatch.setattr(_train, "bytes_of_call", lambda compiled: 10)
    monkeypatch.setattr(_train, "memory_of", lambda device: 15)
    made.fitted(made.begin())
    assert made._call.at_a_time == 1


def test_calls_are_made_at_the_same_time_and_return_in_order():
    calls = CompiledCalls()
    calls.at_a_time = 2
    both = threading.Barrier(2, timeout=60)
    found = calls.run([lambda: (both.wait(), 1)[1], lambda: (both.wait(), 2)[1]])
    assert found == [1, 2]


def test_a_function_is_compiled_once_for_each_shape():
    traced = []

    def double(x):
        traced.append(x.shape)
        return 2 * x

    calls = CompiledCalls()
    arguments = [(jnp.ones(2),), (jnp.ones(3),), (jnp.full(2, 3.0),)]
    found = calls(double, arguments)
    assert traced == [(2,), (3,)] and calls.seconds_compiling > 0
    assert [each.tolist() for each in found] == [[2, 2], [2, 2, 2], [6, 6]]
