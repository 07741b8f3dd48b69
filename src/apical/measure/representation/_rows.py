"""Arrays of examples as tables: one row for each example, one column for each unit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def example_rows(x: Any, axis: int = 0, name: str = "x") -> jax.Array:
    """The leaves of a pytree as `[examples, units]`, side by side.

    Args:
      x: an array, or a pytree of arrays with the examples on one axis.
      axis: that axis.
      name: of the argument, for messages.

    Raises:
      ValueError: for no arrays, fewer than two examples, leaves with different numbers
        of examples, or one without that axis.
    """
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(x)]
    if not leaves:
        raise ValueError(f"`{name}` has no arrays.")
    for leaf in leaves:
        if not -leaf.ndim <= axis < leaf.ndim:
            raise ValueError(
                f"`{name}` has an array of shape {leaf.shape}, without the axis {axis} "
                "of the examples."
            )
    counts = [leaf.shape[axis] for leaf in leaves]
    if len(set(counts)) > 1:
        raise ValueError(f"The arrays of `{name}` have {counts} examples.")
    if counts[0] < 2:
        raise ValueError(f"`{name}` needs at least two examples, and has {counts[0]}.")
    tables = [jnp.moveaxis(leaf, axis, 0).reshape(counts[0], -1) for leaf in leaves]
    rows = jnp.concatenate(tables, axis=1)
    inexact = jnp.issubdtype(rows.dtype, jnp.inexact)
    # In 16 bits sums lose digits, and there is no SVD.
    return rows.astype(jnp.promote_types(rows.dtype, jnp.float32) if inexact else float)
