"""The similarity objective: examples alike in their targets should be alike in a node.

    l_n = <(S(s_n R_n) - S(y*))^2>,       S_ij = cos(x_i - mean x_i, x_j - mean x_j)

with the mean over all pairs of examples. With U and V the centred rows of the node and
of the target, each of length 1, S are U U^T and V V^T, and

    N^2 l_n = |U^T U|^2 - 2 |U^T V|^2 + |V^T V|^2

is the same with matrices as large as there are columns, however many examples there
are. Nøkland & Eidnes 2019, equations 2 and 3.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ...circuit import gathered
from .._rule import wide
from .._wiring import Wiring
from ._layout import Layout, output_table

# Below the square of what a row can be for its direction to mean anything.
_NOTHING = 1e-12


def directions(rows: jax.Array) -> jax.Array:
    """Each row, centred and of length 1: their products are the similarities."""
    centred = rows - jnp.mean(rows, axis=-1, keepdims=True)
    size = jnp.sum(jnp.square(centred), axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(size + _NOTHING)


def similarity(
    layouts: dict[str, tuple[Layout, Wiring]],
    target: jax.Array,
    values: dict[str, jax.Array],
    readouts: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    """For each node its distance to the target's, summed over turns."""
    found = {}
    for name, (layout, wiring) in layouts.items():
        wanted = directions(wide(output_table(wiring, target)))
        here = directions(wide(layout.table(values[name]) @ readouts[name]))
        apart = _crossed(here, here) - 2 * _crossed(here, wanted)
        apart += _crossed(wanted, wanted)
        found[name] = jnp.sum(apart) / float(layout.rows) ** 2
    return found


def _crossed(one: jax.Array, other: jax.Array) -> jax.Array:
    """The squared norm of `one^T other`, for each turn."""
    # Summed over the examples, which may lie on several devices.
    product = jnp.swapaxes(gathered(one), -1, -2) @ gathered(other)
    return jnp.sum(jnp.square(product), axis=(-1, -2))
