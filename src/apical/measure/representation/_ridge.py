"""Ridge regression with its penalty chosen by leave-one-out errors, in closed form.

    B = (X^T X + lambda)^-1 X^T Y = V diag(s / (s^2 + lambda)) U^T Y,     X = U s V^T
    leave-one-out error of example i = (y_i - f_i) / (1 - H_ii)

with H = U diag(s^2 / (s^2 + lambda)) U^T. One penalty for all columns of Y.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_PENALTIES = np.geomspace(1e-6, 1e3, 19)  # relative to the largest s^2


def ridge(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Fit `y ~ x` with an intercept; returns the function that predicts.

    Args:
      x: `[examples, features]`.
      y: `[examples, targets]`.
    """
    center, offset = x.mean(axis=0), y.mean(axis=0)
    u, s, vt = np.linalg.svd(x - center, full_matrices=False)
    if not s.size or s[0] == 0:
        return lambda new: np.broadcast_to(offset, (len(new), y.shape[1]))
    inner = u.T @ (y - offset)

    def error(penalty: float) -> float:
        kept = s**2 / (s**2 + penalty)
        rest = (y - offset) - u @ (kept[:, None] * inner)
        # The intercept takes 1/n of each example's leverage.
        leverage = (u**2) @ kept + 1 / len(x)
        return float(np.sum((rest / np.maximum(1 - leverage, 1e-9)[:, None]) ** 2))

    penalty = min(_PENALTIES * s[0] ** 2, key=error)
    weights = vt.T @ ((s / (s**2 + penalty))[:, None] * inner)
    return lambda new: (new - center) @ weights + offset
