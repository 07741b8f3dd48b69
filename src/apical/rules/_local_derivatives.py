"""Local derivatives of a network: a forward pass, then one backward step per node.

    (dL, e)  ->  dL/dx - sum_n <e_n, dp_n/dx> / scale,      x: parameters and values

with the value of every node held, so that no derivative is propagated across a node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ..circuit import Circuit, drive_of
from ._numerics import NodeArrays, cast_to_nodes, upcast


@dataclass(frozen=True)
class LocalDerivatives:
    """A forward pass and its local derivatives at the feed-forward values.

    Attributes:
      circuit: of the loss function.
      value: the loss.
      aux: what the loss function returned beside it.
      values: the value of each node.
      transposed: the local derivatives, transposed: from cotangents of the loss and of
        the predictions to those of the parameters and of the values.
    """

    circuit: Circuit
    value: jax.Array
    aux: Any
    values: NodeArrays
    transposed: Callable[[tuple[Any, NodeArrays]], tuple[list[jax.Array], NodeArrays]]

    def pull(self, loss: Any, errors: NodeArrays) -> tuple[list[jax.Array], NodeArrays]:
        """`loss dL - sum_n <e_n, dp_n> / scale`, to parameters and to values.

        In the units of the loss, so that a user's derivative rule that is not linear
        (a clipped gradient) acts as in backpropagation.
        """
        scale = self.circuit.scale
        seeds = {n: -e / scale for n, e in errors.items()}
        seeds = cast_to_nodes(self.circuit, seeds)
        seed = jnp.asarray(loss, self.value.dtype) * jnp.ones_like(self.value)
        return self.transposed((seed, seeds))


def local_derivatives(
    circuit: Circuit,
    params: Any,
    args: Any,
    *,
    feedback: Any = None,
    derivative: bool = True,
) -> LocalDerivatives:
    """Run forward once and keep the local derivatives.

    Args:
      circuit: of the loss function.
      params: its parameters.
      args: its other arguments.
      feedback: the parameters through which errors are passed back; None: `params`.
      derivative: whether errors are multiplied by the derivative of the nonlinearity.
    """
    sites = error_sites(circuit, derivative)
    learned, fixed = circuit.leaves.split(params)
    # Given the values, the steps of a loop are independent.
    start = circuit.run(params, args) if circuit.structure.parallel else None

    def network(learned: Any, errors: NodeArrays) -> Any:
        here = circuit.leaves.combine(learned, fixed)
        errors = cast_to_nodes(circuit, errors)
        how: dict[str, Any] = {"feedback": feedback, "sites": visited(sites)}
        if start is None:
            run = circuit.run(here, args, tap="hold", inject=errors, **how)
        else:
            held = jax.tree.map(jnp.add, start.sites, errors)
            run = circuit.run(
                here, args, tap="clamp", inject=held, parallel=True, **how
            )
        pulled = {n: run.sites[site] for n, site in sites.items()}
        return (run.loss, pulled), (run.aux, {n: run.sites[n] for n in sites})

    (value, _), transposed, (aux, values) = jax.vjp(
        network, learned, upcast(circuit.zeros()), has_aux=True
    )
    if start is not None:
        value, aux, values = start.loss, start.aux, start.sites
    return LocalDerivatives(circuit, value, aux, values, transposed)


def error_sites(circuit: Circuit, derivative: bool) -> dict[str, str]:
    """The site through which each node's error is pulled: its prediction, or its drive.

    Pulled through the drive, an error is not multiplied by the derivative of the
    nonlinearity.
    """
    if derivative:
        return {n.name: n.name for n in circuit.nodes}
    return {n.name: drive_of(n.name) if n.unit else n.name for n in circuit.nodes}


def visited(sites: dict[str, str]) -> list[str]:
    """All nodes, and the sites through which errors are pulled."""
    return list(dict.fromkeys([*sites, *sites.values()]))
