"""Store-recall: the value of the last store, read off the spikes again."""

import numpy as np
import pytest

from apical.lab.data.tasks._store_recall import store_recall_examples

FORM = {"channels": 40, "periods": 9, "steps": 30, "wait": 2}


@pytest.fixture(scope="module")
def drawn():
    return store_recall_examples(150, 3, **FORM, rate=0.3)


def groups_of(x, steps):
    """Whether each group spikes at all in each period."""
    number, time, channels = x.shape
    in_groups = x.reshape(number, time // steps, steps, 4, channels // 4)
    return in_groups.any(axis=(2, 4))


def test_a_recall_wants_the_value_of_the_last_store(drawn):
    x, y = drawn
    for periods, labels in zip(groups_of(x, 30), y, strict=True):
        kept, waiting = None, False
        for (zero, one, store, recall), label in zip(periods, labels, strict=True):
            if recall:
                assert waiting and not (zero or one or store)
                assert label == kept
                waiting = False
                continue
            assert label == -1 and zero != one
            if store:
                assert not waiting
                kept, waiting = int(one), True
        assert not waiting and kept is not None


def test_other_values_are_distractors_and_values_are_as_frequent(drawn):
    x, y = drawn
    groups = groups_of(x, 30)
    shown = groups[..., 1][~groups[..., 3]]
    assert abs(shown.mean() - 0.5) < 0.06
    assert abs(y[y >= 0].mean() - 0.5) < 0.12
    # A network that takes the value shown before the recall is right by chance alone.
    before = [
        groups[i, t - 1, 1] == y[i, t] for i, t in zip(*np.nonzero(y >= 0), strict=True)
    ]
    stored = [groups[i, t - 1, 2] for i, t in zip(*np.nonzero(y >= 0), strict=True)]
    late = [b for b, s in zip(before, stored, strict=True) if not s]
    assert 0.35 < np.mean(late) < 0.65 and np.mean(before) > np.mean(late)


def test_channels_spike_at_their_rate_and_on_their_own(drawn):
    x, _ = drawn
    active = np.repeat(groups_of(x, 30).repeat(10, axis=2), 30, axis=1)
    assert abs(x[active].mean() - 0.3) < 0.005 and not x[~active].any()
    assert len(np.unique(x.reshape(-1, 40)[:200], axis=0)) > 100


def test_a_command_comes_after_the_wait():
    _, y = store_recall_examples(4000, 0, channels=4, periods=60, steps=1, wait=3)
    recalls = (y >= 0).mean()
    # One in two commands, one command in four periods; a little more at the end.
    assert abs(recalls - 1 / 8) < 0.005


def test_a_seed_draws_the_same_again_and_another_one_something_else():
    first, again, other = (store_recall_examples(20, s, **FORM) for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
