"""Learners without a network, from scikit-learn: each with sixteen trials."""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple, cast

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

Numbers = dict[str, float]


class Learner(NamedTuple):
    """A learner, and the numbers that are tried.

    Attributes:
        classes_of: the classes of test images: of numbers, x, y and test images.
        trials: the numbers.
    """

    classes_of: Callable[[Numbers, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    trials: tuple[Numbers, ...]


def _logistic(numbers: Numbers, x: Any, y: Any, test: Any) -> np.ndarray:
    model = LogisticRegression(C=numbers["C"], max_iter=2000, tol=1e-3)
    return model.fit(x, y).predict(test)


def _neighbours(numbers: Numbers, x: Any, y: Any, test: Any) -> np.ndarray:
    number = min(int(numbers["neighbours"]), len(x))
    model = KNeighborsClassifier(number, weights="distance")
    return model.fit(x, y).predict(test)


def _gaussian_process(numbers: Numbers, x: Any, y: Any, test: Any) -> np.ndarray:
    """Regression of the one-hot labels; the class is that of the largest mean."""
    kernel = RBF(numbers["length"]) + WhiteKernel(numbers["noise"])
    # scikit-learn's types do not know None, by which the kernel is kept as it is.
    model: Any = GaussianProcessRegressor(kernel, optimizer=cast(Any, None))
    one_hot = np.eye(int(y.max()) + 1)[y]
    return model.fit(x, one_hot - one_hot.mean(0)).predict(test).argmax(1)


LEARNERS: dict[str, Learner] = {
    "logistic regression": Learner(
        _logistic, tuple({"C": float(c)} for c in np.logspace(-5, 2.5, 16))
    ),
    "nearest neighbours": Learner(
        _neighbours, tuple({"neighbours": float(k)} for k in range(1, 17))
    ),
    "Gaussian process": Learner(
        _gaussian_process,
        tuple(
            {"length": length, "noise": noise}
            for length, noise in product((2.0, 4.0, 8.0, 16.0), (1e-3, 1e-2, 0.1, 1.0))
        ),
    ),
}
