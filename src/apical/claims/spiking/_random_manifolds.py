"""Spike times on smooth random manifolds, a classification task (Zenke & Vogels 2021).

Each class is a curve. At the place x on it, input unit i fires once, at a time
proportional to

    f_i(x) = sum_k k^-alpha a_ik sin(2 pi (k b_ik x + c_ik)),    a, b, c ~ U(0, 1)

scaled to the whole window. Examples are places drawn uniformly; alpha sets how smooth
the curve is. All units fire once, so that rates tell nothing.
"""

import numpy as np

from apical.lab.data._dataset import Data

TERMS = 100  # of the sum


def random_manifolds(
    *, examples: int, units: int, steps: int, classes: int = 10, alpha: float, seed: int
) -> Data:
    """Spike times, in steps, of input units for points on one curve for each class.

    Args:
        examples: of each class; a fifth of them are for the test.
        units: the number of input units.
        steps: the length of the window.
        classes: the number of curves.
        alpha: the smoothness.
        seed: of the curves and the points.

    Returns:
        Examples of shape (units,), each entry the step in which a unit fires, from 0.

    Example:
        >>> data = random_manifolds(examples=10, units=3, steps=20, alpha=3.0, seed=0)
        >>> data.train_x.shape, data.test_x.shape
        ((80, 3), (20, 3))
    """
    rng = np.random.default_rng(seed)
    times = np.stack(
        [curve(rng, rng.random(examples), units, alpha) for _ in range(classes)]
    )
    fired = np.minimum(np.floor(times * steps), steps - 1).astype(np.float32)
    trained = examples - examples // 5
    train_x, train_y = _mixed(rng, fired[:, :trained])
    test_x, test_y = _mixed(rng, fired[:, trained:])
    name = f"random manifolds, alpha {alpha:g}"
    return Data(name, "vectors", train_x, train_y, test_x, test_y, classes)


def curve(
    rng: np.random.Generator, places: np.ndarray, units: int, alpha: float
) -> np.ndarray:
    """The coordinates, from 0 to 1, of points on a curve drawn at random.

    Args:
        rng: draws the curve.
        places: of the points, from 0 to 1.
        units: the dimension of the space.
        alpha: the smoothness.

    Returns:
        An array of shape (points, units).
    """
    a, b, c = rng.random((3, units, TERMS))
    k = np.arange(1, TERMS + 1)
    # The range of the whole curve, so that few points do not change it.
    grid = np.linspace(0, 1, 1001)
    whole = np.concatenate([grid, places])
    phases = 2 * np.pi * (k * b * whole[:, None, None] + c)
    f = np.sum(k**-alpha * a * np.sin(phases), axis=-1)
    low, high = f.min(axis=0), f.max(axis=0)
    return ((f - low) / (high - low))[len(grid) :]


def _mixed(
    rng: np.random.Generator, by_class: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Examples of all classes in a random order, and their labels."""
    classes, each, units = by_class.shape
    order = rng.permutation(classes * each)
    labels = np.repeat(np.arange(classes, dtype=np.int32), each)
    return by_class.reshape(-1, units)[order], labels[order]
