"""Yin-Yang: the published points to the last bit, the rule again, the spike times."""

import hashlib

import numpy as np
import pytest

from apical.lab.data.tasks._yin_yang import yin_yang, yin_yang_points, yin_yang_spikes

# Of the published features (float64) and labels (int64), as their files hold them.
PUBLISHED = {
    (5000, 42): "3dcfbb1895fd5f753d5591e1b4c3c7d98666e04ed91a50569185f2c0a3fcbb48",
    (1000, 41): "03d1c9e01d7b2ab9d4d200f84632d8ec8a9fe9e72a75043542a21589507de339",
    (1000, 40): "01e8a4f15d4b0d4df3d4f94fb67f5167e7b7783a7eeb3329e4e61e8c07ebb9eb",
}


def digest(number, seed):
    x, y = yin_yang_points(number, seed)
    return hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()


@pytest.mark.parametrize(("number", "seed"), PUBLISHED)
def test_the_points_are_the_published_ones_to_the_last_bit(number, seed):
    assert digest(number, seed) == PUBLISHED[number, seed]
    assert digest(number, seed + 1) != PUBLISHED[number, seed]


def painted(x, y):
    """The class of a point, as one paints the sign: discs over halves."""
    color = 1 if y > 0.5 else 0
    for centre, of_disc in ((0.75, 0), (0.25, 1)):
        color = of_disc if np.hypot(x - centre, y - 0.5) <= 0.25 else color
        color = 2 if np.hypot(x - centre, y - 0.5) < 0.1 else color
    return color


def test_the_sign_is_painted_and_each_class_is_as_frequent():
    x, classes = yin_yang_points(3000, 1)
    assert classes.tolist() == [painted(a, b) for a, b in x[:, :2]]
    assert np.hypot(x[:, 0] - 0.5, x[:, 1] - 0.5).max() <= 0.5
    np.testing.assert_array_equal(x[:, 2:], 1 - x[:, :2])
    assert abs(np.bincount(classes) / 3000 - 1 / 3).max() < 0.03  # three deviations


def test_spike_times_are_the_features():
    points = yin_yang(train=50, test=10)
    spikes = yin_yang_spikes(steps=20, rest=5, train=50, test=10)
    assert spikes.train_x.shape == (50, 25, 5) and spikes.axes.startswith(
        "(examples, t"
    )
    assert (spikes.train_x.sum(1) == 1).all()
    times = spikes.train_x.argmax(1)
    assert (times[:, 4] == 0).all()
    # A step is 1/20 long.
    assert ((times[:, :4] <= 20 * points.train_x) & (times[:, :4] < 20)).all()
    assert (20 * points.train_x < times[:, :4] + 1 + 1e-9).all()
    np.testing.assert_array_equal(spikes.train_y, points.train_y)
