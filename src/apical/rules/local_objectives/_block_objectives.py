"""Local objectives of a node: similarity matching, and prediction by a read-out.

    similarity    l_n = <(S(s_n R_n) - S(y*))^2>,   S_ij = cos(x_i - mean, x_j - mean)
    prediction    l_n = L(s_n P_n),                 the loss of the node's read-out

The mean <> is over all N^2 pairs of examples. With U and V the centred rows of the node
and of the target, each of length 1, the similarities are U U^T and V V^T, and

    N^2 l_n = |U^T U|^2 - 2 |U^T V|^2 + |V^T V|^2

needs only matrices of the size of the number of columns, for any number of examples.
Nøkland & Eidnes 2019, equations 1 to 3; Belilovsky, Eickenberg & Oyallon 2019.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp

from ...circuit import OUTPUT, Circuit, gathered, over_devices
from .._axis_maps import AxisMap
from .._numerics import upcast

# Rows whose squared norm is below this count as zero.
_SMALLEST_SQUARE = 1e-12


def similarity(
    axes: dict[str, AxisMap],
    target: jax.Array,
    values: dict[str, jax.Array],
    readouts: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    """The similarity objective of each node, summed over the turns of its loops."""
    found = {}
    for name, node in axes.items():
        wanted = directions(upcast(node.output_table(target)))
        here = directions(upcast(node.table(values[name]) @ readouts[name]))
        distance = _crossed(here, here) - 2 * _crossed(here, wanted)
        distance += _crossed(wanted, wanted)
        found[name] = jnp.sum(distance) / float(node.row_count) ** 2
    return found


def directions(rows: jax.Array) -> jax.Array:
    """Rows centred and scaled to length 1; their products are the similarities."""
    centred = rows - jnp.mean(rows, axis=-1, keepdims=True)
    size = jnp.sum(jnp.square(centred), axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(size + _SMALLEST_SQUARE)


def _crossed(one: jax.Array, other: jax.Array) -> jax.Array:
    """The squared norm of `one^T other`, for each turn."""
    # Summed over the examples, which may be sharded over several devices.
    product = jnp.swapaxes(gathered(one), -1, -2) @ gathered(other)
    return jnp.sum(jnp.square(over_devices(product)), axis=(-1, -2))


def prediction(
    circuit: Circuit,
    params: Any,
    args: Any,
    axes: dict[str, AxisMap],
    values: dict[str, jax.Array],
    readouts: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    """The loss of each node's read-out, summed over the turns of its loops."""
    shape = circuit.output_shape
    learned, fixed = circuit.leaves.split(params)
    params = circuit.leaves.combine(jax.lax.stop_gradient(learned), fixed)

    def head(output: jax.Array) -> jax.Array:
        run = circuit.run(params, args, tap="clamp", inject={OUTPUT: output}, sites=())
        return run.loss

    outputs = [
        node.as_outputs(node.table(values[n]) @ readouts[n], shape.shape)
        for n, node in axes.items()
    ]
    # All nodes in one `vmap`, so that the forward computation is traced once (and is
    # then removed by the compiler as dead code).
    losses = jax.vmap(head)(jnp.concatenate(outputs).astype(shape.dtype))
    ends = list(accumulate(len(each) for each in outputs))
    parts = jnp.split(losses, ends[:-1])
    return {n: jnp.sum(part) for n, part in zip(axes, parts, strict=True)}
