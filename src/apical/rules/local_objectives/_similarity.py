"""The similarity objective: examples alike in their targets should be alike in a node.

    l_n = <(S(s_n R_n) - S(y*))^2>,       S_ij = cos(x_i - mean x_i, x_j - mean x_j)

with the mean over all pairs of examples. Nøkland & Eidnes 2019, equations 2 and 3.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .._wiring import Wiring
from ._layout import Layout, output_table

# Below the square of what a row can be for its direction to mean anything.
_NOTHING = 1e-12


def similarities(rows: jax.Array) -> jax.Array:
    """The cosines between all rows, each centred: `[..., rows, rows]`."""
    centred = rows - jnp.mean(rows, axis=-1, keepdims=True)
    size = jnp.sum(jnp.square(centred), axis=-1, keepdims=True)
    unit = centred * jax.lax.rsqrt(size + _NOTHING)
    return unit @ jnp.swapaxes(unit, -1, -2)


def similarity(
    layouts: dict[str, tuple[Layout, Wiring]],
    target: jax.Array,
    values: dict[str, jax.Array],
    readouts: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    """For each node its distance to the target's, summed over turns."""
    found = {}
    for name, (layout, wiring) in layouts.items():
        wanted = similarities(output_table(wiring, target))
        here = similarities(layout.table(values[name]) @ readouts[name])
        found[name] = jnp.sum(jnp.mean(jnp.square(here - wanted), axis=(-1, -2)))
    return found
