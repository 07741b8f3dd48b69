"""Predictions that follow the values: traditional predictive coding."""

from __future__ import annotations

from typing import Any

import jax
import optax

from ..circuit import Circuit
from ._inference import Settled, relax
from ._rule import squared_norm


def settle_free(
    circuit: Circuit,
    params: Any,
    args: Any,
    optimizer: optax.GradientTransformation,
    steps: int,
) -> Settled:
    """Descend the energy from the feed-forward values. Whittington & Bogacz 2017."""
    learned, fixed = circuit.leaves.pick(params)
    start, scale = circuit.run(params, args), circuit.scale

    def share(learned: Any, values: Any) -> Any:
        """The energy of one example as its share of the loss: E / scale."""
        here = circuit.leaves.build(learned, fixed)
        run = circuit.run(here, args, tap="clamp", inject=values, parallel=True)
        errors = {n: v - run.sites[n] for n, v in values.items()}
        return squared_norm(errors) / (2 * scale) + run.loss, errors

    def slope(values: Any) -> Any:
        """dE/dv of one example."""
        grads, _ = jax.grad(share, argnums=1, has_aux=True)(learned, values)
        return jax.tree.map(lambda g: scale * g, grads)

    values, residual = relax(circuit, slope, start.sites, optimizer, steps)
    grads, errors = jax.grad(share, has_aux=True)(learned, values)
    return Settled(start.loss, start.aux, grads, values, errors, residual)
