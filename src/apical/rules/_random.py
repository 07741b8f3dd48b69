"""Random arrays of many shapes, from a single draw.

    numbers = law(key, (sum of all sizes,)),      each array is a slice of the numbers

A generator is compiled anew for every shape, so one draw that is split compiles many
times faster than one draw for each array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp

# Draws numbers, as `jax.random.normal(key, shape)` does.
Law = Callable[[jax.Array, tuple[int, ...]], jax.Array]


def draw_arrays(
    key: jax.Array,
    shapes: Sequence[tuple[int, ...]],
    law: Law,
    count: int | None = None,
) -> list[jax.Array]:
    """An array for each shape; `count` adds a leading axis of that length."""
    if not shapes:
        return []
    sizes = [math.prod(shape) for shape in shapes]
    lead = () if count is None else (count,)
    numbers = law(key, (*lead, sum(sizes)))
    parts = jnp.split(numbers, list(accumulate(sizes))[:-1], axis=-1)
    pairs = zip(parts, shapes, strict=True)
    return [part.reshape(*lead, *shape) for part, shape in pairs]


def draw_matrices(
    key: jax.Array, shapes: Sequence[tuple[int, int]], dtypes: Sequence[Any]
) -> list[jax.Array]:
    """Matrices `[rows, columns]`, uniform between ± 1/sqrt(rows)."""
    uniform = partial(jax.random.uniform, minval=-1.0, maxval=1.0)
    drawn = draw_arrays(key, shapes, uniform)
    pairs = zip(drawn, dtypes, strict=True)
    return [(m * m.shape[0] ** -0.5).astype(dtype) for m, dtype in pairs]
