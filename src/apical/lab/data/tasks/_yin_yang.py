"""Yin-Yang: points of a disc in three classes, as vectors and as spike times.

    (x, y) uniform in the disc of radius r about (r, r), r = 1/2
    features (x, y, 1 - x, 1 - y)

With `d` and `e` the distances to the centres of the right and the left dot, (3/2 r, r)
and (r / 2, r), and s = 0.1 the radius of a dot:

| class | where |
|---|---|
| 2 dot | d < s or e < s |
| 1 yang | else, d <= s, or s < e <= r/2, or y > r and d > r/2 |
| 0 yin | else |

Every class is equally frequent: a class is drawn, then points until one has it. With
the seeds 42, 41 and 40 these are the training, validation and test points that the
authors published, to the last bit.

Source: Kriener, Göltz & Petrovici 2022, arXiv:2102.08211; spike times as in Göltz et
al. 2021, arXiv:1912.11443.
"""

import numpy as np

from apical.lab.data._dataset import Data
from apical.lab.data.tasks._checks import require_counts, require_memory, require_seeds

_LARGE, _SMALL = 0.5, 0.1
_CHANNELS = 5  # four features and a spike at the start of every example
_REFERENCE = (
    "published test accuracy: 97.6 % of a 4-30-3 network, 63.8 % of one layer (Kriener "
    "et al. 2022)"
)


def yin_yang_points(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of the disc and their classes.

    Args:
        number: how many.
        seed: of the draw; published are 42 (5,000), 41 and 40 (1,000 each).

    Returns:
        Features, float64 `(number, 4)`, and classes, int64 `(number,)`.
    """
    # The generator of the published files: another one draws other points.
    rng = np.random.RandomState(seed)
    points, classes = np.empty((number, 2)), np.empty(number, np.int64)
    for i in range(number):
        wanted = rng.randint(3)
        while True:
            x, y = rng.rand(2) * 2 * _LARGE
            inside = np.hypot(x - _LARGE, y - _LARGE) <= _LARGE
            if inside and _class(x, y) == wanted:
                break
        points[i], classes[i] = (x, y), wanted
    return np.concatenate([points, 1 - points], axis=1), classes


def _class(x: float, y: float) -> int:
    right = np.hypot(x - 1.5 * _LARGE, y - _LARGE)
    left = np.hypot(x - 0.5 * _LARGE, y - _LARGE)
    if min(right, left) < _SMALL:
        return 2
    half = 0.5 * _LARGE
    yang = right <= _SMALL or _SMALL < left <= half or (y > _LARGE and right > half)
    return int(yang)


def yin_yang(
    *, train: int = 5000, test: int = 1000, train_seed: int = 42, test_seed: int = 40
) -> Data:
    """Yin-Yang as vectors of four features.

    Args:
        train: how many training examples.
        test: how many test examples.
        train_seed: of the training examples.
        test_seed: of the test examples.
    """
    require_counts("yin-yang", train=train, test=test)
    require_seeds("yin-yang", train_seed, test_seed)
    require_memory("yin-yang", train + test, 4)
    parts = yin_yang_points(train, train_seed), yin_yang_points(test, test_seed)
    (x, y), (test_x, test_y) = parts
    return Data("yin-yang", "vectors", x, y, test_x, test_y, 3, _REFERENCE)


def yin_yang_spikes(
    *,
    steps: int = 30,
    rest: int = 10,
    train: int = 5000,
    test: int = 1000,
    train_seed: int = 42,
    test_seed: int = 40,
) -> Data:
    """Yin-Yang as sequences in which each feature is the time of one spike.

        channel i spikes at step floor(steps * feature i); channel 4 at step 0

    Args:
        steps: steps in which the features spike.
        rest: steps after these, up to the one that has the label.
        train: how many training examples.
        test: how many test examples.
        train_seed: of the training examples.
        test_seed: of the test examples.
    """
    require_counts("yin-yang-spikes", steps=steps)
    require_counts("yin-yang-spikes", lowest=0, rest=rest)
    require_counts("yin-yang-spikes", train=train, test=test)
    require_seeds("yin-yang-spikes", train_seed, test_seed)
    numbers = (steps + rest) * _CHANNELS
    require_memory("yin-yang-spikes", train + test, numbers)
    data = yin_yang(train=train, test=test, train_seed=train_seed, test_seed=test_seed)

    def spikes(features: np.ndarray) -> np.ndarray:
        found = np.zeros((len(features), steps + rest, _CHANNELS), np.float32)
        times = np.minimum(np.floor(steps * features).astype(int), steps - 1)
        example, channel = np.indices(times.shape)
        found[example, times, channel] = 1
        found[:, 0, -1] = 1
        return found

    return data._replace(
        name="yin-yang-spikes",
        kind="sequences",
        train_x=spikes(data.train_x),
        test_x=spikes(data.test_x),
        note="one spike for each feature, earlier for smaller ones",
    )
