"""The prediction objective: the loss itself, read from a node's own read-out.

    l_n = L(y_n),      y_n = s_n R_n      in place of the output

so that a cross-entropy is a cross-entropy and a squared error a squared error. Nøkland
& Eidnes 2019, equation 1; Belilovsky, Eickenberg & Oyallon 2019.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp

from ...circuit import Circuit
from .._wiring import Wiring
from ._layout import Layout, as_outputs

OUTPUT = "output"


def prediction(
    circuit: Circuit,
    params: Any,
    args: Any,
    layouts: dict[str, tuple[Layout, Wiring]],
    values: dict[str, jax.Array],
    readouts: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    """For each node the loss of its own output, summed over the turns of its loops."""
    shape = circuit.output_shape
    learned, fixed = circuit.leaves.pick(params)
    params = circuit.leaves.build(jax.lax.stop_gradient(learned), fixed)

    def head(output: jax.Array) -> jax.Array:
        run = circuit.run(params, args, tap="clamp", inject={OUTPUT: output}, sites=())
        return run.loss

    outputs = [
        as_outputs(wiring, layout.table(values[n]) @ readouts[n], shape.shape)
        for n, (layout, wiring) in layouts.items()
    ]
    # All nodes at once, so that the way to the output is traced once (and is dead).
    losses = jax.vmap(head)(jnp.concatenate(outputs).astype(shape.dtype))
    ends = list(accumulate(len(each) for each in outputs))
    parts = jnp.split(losses, ends[:-1])
    return {n: jnp.sum(part) for n, part in zip(layouts, parts, strict=True)}
