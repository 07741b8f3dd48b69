"""Depth scaling: a parametrisation in which learning rates transfer across sizes.

    synapse into the stream from outside   y = W x / sqrt(N)
    last synapse of a residual branch      y = W x / sqrt(N L)
    synapse into the loss                  y = W x / N

N is the fan-in, L the number of branches, and the entries of W have variance 1.
Innocenti et al. 2025, Table 1; without residual branches only the last synapse is
scaled differently from standard initialisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from ._analysis._nodes import LOSS
from ._circuit import Circuit
from ._jaxpr import is_concrete
from ._trace import Nodes, trace


class DepthScaled(NamedTuple):
    """A loss function with rescaled weights.

    Attributes:
      loss_fn: `loss_fn(params, *args)`, as a function of the rescaled weights.
      params: the rescaled parameters: weights have mean square 1.
      factors: the factor by which `loss_fn` multiplies each weight, by the leaf's path.
    """

    loss_fn: Callable[..., Any]
    params: Any
    factors: dict[str, float]


def depth_scaled(
    loss_fn: Callable[..., Any],
    params: Any,
    *args: Any,
    has_aux: bool = False,
    reduction: Literal["mean", "sum"] = "mean",
    batch_axes: Any = 0,
    nodes: Nodes = "entry",
) -> DepthScaled:
    """Scale every weight by width and depth, so that one rate suits every network size.

        loss_fn'(theta, ...) = loss_fn(a theta, ...),   a: 1/sqrt(N), 1/sqrt(N L), 1/N

    Any rule can train the new loss function. A residual branch is found where a node is
    computed from an earlier node and a synapse; that synapse has the factor with L.

    Args:
      loss_fn: any JAX function `loss_fn(params, *args)`.
      params: its parameters, as the model initialises them: each weight is divided by
        its root mean square, so that its scale does not matter.
      *args: arguments with the shapes of later calls.
      has_aux: as in `apical.trace`.
      reduction: as in `apical.trace`.
      batch_axes: as in `apical.trace`.
      nodes: as in `apical.trace`.

    Returns:
      `DepthScaled(loss_fn, params, factors)`.

    Raises:
      ValueError: for a synapse inside a loop, one whose weight is computed from others,
        a weight of two synapses that would be scaled differently, and one of zeros.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     h = x @ w["in"]
      ...     h = h + jnp.tanh(h) @ w["one"]
      ...     h = h + jnp.tanh(h) @ w["two"]
      ...     return jnp.mean((h @ w["out"]) ** 2)
      >>> w = {"in": jnp.ones((4, 9)), "one": jnp.ones((9, 9)), "two": jnp.ones((9, 9))}
      >>> w |= {"out": jnp.ones((9, 1))}
      >>> scaled = apical.depth_scaled(loss_fn, w, jnp.ones((5, 4)))
      >>> {name: round(a, 3) for name, a in scaled.factors.items()}
      {'in': 0.5, 'one': 0.236, 'two': 0.236, 'out': 0.111}

    Source: Innocenti, Achour & Buckley 2025, NeurIPS, arXiv:2505.13124.
    """
    found = trace(
        loss_fn,
        has_aux=has_aux,
        reduction=reduction,
        batch_axes=batch_axes,
        nodes=nodes,
    )
    circuit = found(params, *args)
    factors = _factors(circuit)
    learned, fixed = circuit.leaves.split(params)
    names = circuit.leaves.names
    units = [
        leaf / _size(leaf, name) if name in factors else leaf
        for name, leaf in zip(names, learned, strict=True)
    ]

    def scaled(params: Any, *args: Any) -> Any:
        learned, fixed = circuit.leaves.split(params)
        pairs = zip(names, learned, strict=True)
        here = [(factors.get(name, 1.0) * w).astype(w.dtype) for name, w in pairs]
        return loss_fn(circuit.leaves.combine(here, fixed), *args)

    return DepthScaled(scaled, circuit.leaves.combine(units, fixed), factors)


def _size(leaf: jax.Array, name: str) -> jax.Array:
    size = jnp.sqrt(jnp.mean(jnp.square(jnp.abs(leaf))))
    if is_concrete(size) and size == 0:
        raise ValueError(
            f"The weight {name!r} is zero everywhere, so that it has no size to be "
            "scaled to. Draw it at random first."
        )
    return size


def _factors(circuit: Circuit) -> dict[str, float]:
    """The factor of each weight, by the leaf's path."""
    branches = _branches(circuit)
    into_loss = set(circuit.parents[LOSS].synapses) - branches
    found: dict[str, float] = {}
    for i, synapse in enumerate(circuit.synapses):
        if synapse.loops or not synapse.direct:
            where = "inside a loop" if synapse.loops else "computed from others"
            raise ValueError(
                f"The weight {synapse.name!r} at {synapse.where} is {where}, where "
                "depth scaling is not defined: write the layers out, each with a "
                "weight of its own."
            )
        root = math.sqrt(synapse.fan_in)
        factor = 1 / root
        if i in branches:
            factor /= math.sqrt(len(branches))
        if i in into_loss:
            factor = 1 / synapse.fan_in
        if found.setdefault(synapse.name, factor) != factor:
            raise ValueError(
                f"The weight {synapse.name!r} has two synapses that depth scaling "
                f"would scale by {found[synapse.name]:.3g} and by {factor:.3g}: give "
                "each its own weight."
            )
    return found


def _branches(circuit: Circuit) -> set[int]:
    """The synapses that end a branch: they are added to an earlier node.

    Where the loss reads the stream itself, the last branch ends in the loss.
    """
    found = circuit.parents.values()
    return {synapse for nodes, synapses in found if nodes for synapse in synapses}
