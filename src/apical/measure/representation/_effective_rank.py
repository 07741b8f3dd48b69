"""The effective rank of activities or signals: along how many directions they vary.

    participation   (sum_i v_i)^2 / sum_i v_i^2              v_i: variances along the
    entropy         exp(-sum_i p_i log p_i),  p_i = s_i / sum_j s_j   principal axes

with s_i the singular values, s_i^2 proportional to v_i. k directions of equal variance
give k by both.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from ._rows import example_rows


def effective_rank(
    x: Any,
    *,
    kind: Literal["participation", "entropy"] = "participation",
    centered: bool = True,
    example_axis: int = 0,
) -> jax.Array:
    """The number of directions along which examples vary, a real number.

        (sum_i v_i)^2 / sum_i v_i^2,       v_i: variances along the principal axes

    A scalar reward sends signals of rank 1 to a layer; a vector of 10 errors, of rank
    10 at most where nothing gates them.

    Args:
      x: the values of a node, its teaching signals, or anything `[examples, ...]`; all
        other axes are units. A pytree: all its leaves side by side.
      kind: `"participation"`, the participation ratio; `"entropy"`, the exponential of
        the entropy of the normalised singular values, which weighs small directions
        more.
      centered: whether the mean over the examples is subtracted first.
      example_axis: the axis of the examples.

    Returns:
      A number from 1 to the smaller of examples and units; NaN if nothing varies.

    Raises:
      ValueError: for fewer than two examples, or an unknown kind.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> x = jnp.array([[1.0, 0, 5], [-1, 0, 5], [0, 1, 5], [0, -1, 5]])
      >>> round(float(apical.measure.effective_rank(x)), 3)
      2.0
      >>> signals = x @ jnp.ones((3, 7))  # through a single number
      >>> round(float(apical.measure.effective_rank(signals)), 3)
      1.0

    Source: Abbott, Rajan & Sompolinsky 2011 (participation ratio); Roy & Vetterli 2007,
    EUSIPCO (entropy).
    """
    if kind not in ("participation", "entropy"):
        raise ValueError(f"`kind` must be 'participation' or 'entropy', not {kind!r}.")
    rows = example_rows(x, example_axis, "x")
    if centered:
        rows = rows - jnp.mean(rows, axis=0)
    s = jnp.linalg.svd(rows, compute_uv=False)
    weights = s**2 if kind == "participation" else s
    total = jnp.sum(weights)
    p = weights / jnp.where(total > 0, total, 1)
    if kind == "participation":
        rank = 1 / jnp.sum(p**2)
    else:
        rank = jnp.exp(-jnp.sum(jnp.where(p > 0, p * jnp.log(p), 0)))
    return jnp.where(total > 0, rank, jnp.nan)
