"""Adding: the sum of the two marked numbers of a sequence.

    x[t] = (u_t, m_t),   u_t uniform in [0, 1),   y = sum of m_t u_t

m is 1 at one step of the first half and at one of the second half, else 0. The label is
about the last step. The mean, 1, has a mean squared error of 1/6 and R² = 0.

Source: Hochreiter & Schmidhuber 1997; in this form Arjovsky, Shah & Bengio 2016,
arXiv:1511.06464.
"""

import numpy as np

from apical.lab.data._dataset import Data
from apical.lab.data.tasks._checks import (
    TEST,
    TRAIN,
    require_counts,
    require_memory,
    require_seeds,
)


def adding_examples(
    number: int, seed: int, *, time: int = 30
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of numbers and marks, and the sums.

    Args:
        number: how many.
        seed: of the draw.
        time: steps of a sequence, at least 2.

    Returns:
        Numbers and marks, float32 `(number, time, 2)`, and sums, float32
        `(number, 1)`.
    """
    rng = np.random.default_rng(seed)
    x = np.zeros((number, time, 2), np.float32)
    x[..., 0] = rng.random((number, time), np.float32)
    half, example = time // 2, np.arange(number)
    first = rng.integers(half, size=number)
    second = rng.integers(half, time, size=number)
    x[example, first, 1] = x[example, second, 1] = 1
    sums = x[example, first, 0] + x[example, second, 0]
    return x, sums[:, None]


def adding(
    *,
    time: int = 30,
    train: int = 10_000,
    test: int = 1000,
    train_seed: int = TRAIN,
    test_seed: int = TEST,
) -> Data:
    """The adding problem.

    Args:
        time: steps of a sequence, at least 2.
        train: how many training examples.
        test: how many test examples.
        train_seed: of the training examples.
        test_seed: of the test examples.
    """
    require_counts("adding", train=train)
    require_counts("adding", lowest=2, time=time, test=test)
    require_seeds("adding", train_seed, test_seed)
    require_memory("adding", train + test, 2 * time)
    parts = adding_examples(train, train_seed, time=time)
    test_x, test_y = adding_examples(test, test_seed, time=time)
    return Data("adding", "sequences", *parts, test_x, test_y, 1, "R² of the mean is 0")
