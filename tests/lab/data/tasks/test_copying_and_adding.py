"""Copying and adding: labels recomputed from what is shown, and the baselines."""

import numpy as np
import pytest

from apical.lab.data._load import load
from apical.lab.data.tasks._adding import adding_examples
from apical.lab.data.tasks._copying import copying_examples


@pytest.mark.parametrize(("length", "delay"), [(1, 1), (3, 1), (4, 7)])
def test_what_is_to_be_copied_is_what_was_shown_first(length, delay):
    x, y = copying_examples(20, 0, symbols=5, length=length, delay=delay)
    assert x.shape == (20, delay + 2 * length, 7) and (x.sum(-1) == 1).all()
    for shown, wanted in zip(x.argmax(-1).tolist(), y.tolist(), strict=True):
        start, end = shown[:length], length + delay
        assert max(start) < 5  # neither the blank (5) nor the signal (6)
        assert wanted == [-1] * end + start
        assert shown[length:] == [5] * (delay - 1) + [6] + [5] * length


def test_symbols_to_copy_are_uniform_and_independent():
    _, y = copying_examples(4000, 0, symbols=4, length=2, delay=1)
    pairs = np.bincount(4 * y[:, -2] + y[:, -1], minlength=16) / 4000
    assert abs(pairs - 1 / 16).max() < 4 * np.sqrt(15 / 16**2 / 4000)


@pytest.mark.parametrize("time", [2, 7, 30])
def test_a_sum_is_that_of_the_two_marked_numbers(time):
    x, y = adding_examples(200, 0, time=time)
    half = time // 2
    for (numbers, marks), total in zip(x.transpose(0, 2, 1), y[:, 0], strict=True):
        first, second = np.flatnonzero(marks)
        assert first < half <= second and set(marks) <= {0, 1}
        assert total == numbers[first] + numbers[second]
    assert x[..., 0].min() >= 0 and x[..., 0].max() < 1


def test_the_mean_has_the_published_error_on_sums():
    _, y = adding_examples(20_000, 0, time=10)
    assert abs(y.mean() - 1) < 0.01 and abs(y.var() - 1 / 6) < 0.005
    assert load("adding(train=10, test=5)").has_numbers


@pytest.mark.parametrize("make", [copying_examples, adding_examples])
def test_a_seed_draws_the_same_again_and_another_one_something_else(make):
    first, again, other = (make(30, seed) for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
