"""Evidence accumulation: the majority of the cues, counted in the spikes again."""

import numpy as np
import pytest

from apical.lab.data._load import load
from apical.lab.data.tasks._evidence_accumulation import evidence_examples

FORM = {"channels": 40, "cues": 5, "on": 20, "off": 10, "delay": 2}


@pytest.fixture(scope="module")
def drawn():
    return evidence_examples(300, 5, **FORM, rate=0.3)


def in_periods(x):
    """Spikes by period, step, group and channel."""
    return x.reshape(len(x), -1, 30, 4, 10)


def test_the_label_is_the_side_with_more_cues(drawn):
    x, y = drawn
    sides = in_periods(x)[:, :5].any(axis=(2, 4))  # (examples, cues, groups)
    assert (sides[..., 0] != sides[..., 1]).all()
    right = sides[..., 1].sum(1)
    np.testing.assert_array_equal(y[:, -1], right > 2.5)
    assert (y[:, :-1] == -1).all()
    # The last cue alone does not tell.
    assert (sides[:, -1, 1] != y[:, -1]).mean() > 0.1


def test_cues_are_on_and_off_and_the_recall_is_last(drawn):
    x = in_periods(drawn[0])
    assert not x[:, :5, 20:, :2].any() and not x[:, 5:, :, :2].any()
    assert not x[:, :-1, :, 2].any() and x[:, -1, :, 2].mean() > 0.28
    cue = x[:, :5, :20, :2].mean()  # one of two groups
    assert abs(cue - 0.15) < 0.005
    assert abs(x[..., 3, :].mean() - 0.3 / 4) < 0.003


def test_seven_of_ten_cues_are_on_the_side_that_is_drawn(drawn):
    _, y = drawn
    assert 0.4 < y[:, -1].mean() < 0.6
    x, _ = evidence_examples(2000, 0, channels=4, cues=7, on=40, off=0, delay=0)
    right = x.reshape(2000, 8, 40, 4)[:, :7, :, 1].any(2).sum(1)
    expected = np.sqrt(7 * 0.3 * 0.7 + (7 * 0.2) ** 2)  # of a mixture
    assert abs(right.std() - expected) < 0.1 and abs(right.mean() - 3.5) < 0.2


def test_the_published_form_has_2250_steps():
    published = "on=100, off=50, cues=7, delay=7, rate=0.04"
    data = load(f"evidence-accumulation({published}, train=2, test=2)")
    assert data.shape == (2250, 40) and data.train_y.shape == (2, 15)


def test_a_seed_draws_the_same_again_and_another_one_something_else():
    first, again, other = (evidence_examples(20, s, **FORM) for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
