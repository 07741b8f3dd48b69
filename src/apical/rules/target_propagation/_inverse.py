"""Inverses: functions that compute the target of a node from those above it.

A user-given inverse has one function for each node; targets are computed node by node:

    t_n = s_n + G_n(t above) - G_n(s above)
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import OUTPUT, Circuit
from .._numerics import NodeArrays
from ._target_sites import TargetSites


class AbstractInverse(abc.ABC):
    """The inverses of the nodes of a circuit, at the values of one forward pass."""

    @abc.abstractmethod
    def back(self, weights: Any, above: NodeArrays) -> NodeArrays:
        """G_n of the values above each node."""

    @abc.abstractmethod
    def changes(self, weights: Any, steps: NodeArrays, difference: bool) -> NodeArrays:
        """Target minus value, of each site.

        Args:
          weights: the weights of the inverses.
          steps: the gradient step of each site on the loss itself.
          difference: whether to correct for the error of the inverse.
        """


class InverseFunctions(NamedTuple):
    """A user-given inverse: the functions `init` and `apply`."""

    init: Callable[[jax.Array, Any, dict[str, Any]], Any]
    apply: Callable[[Any, NodeArrays], jax.Array]


def as_inverse_functions(given: Any) -> InverseFunctions:
    """The pair of functions given as `inverse`; raises for anything else."""
    pair = isinstance(given, tuple) and len(given) == 2 and all(map(callable, given))
    if not pair:
        raise TypeError(
            "`inverse` must be a pair of functions `(init, apply)`: `init(key, node, "
            "above)` makes the weights for the inverse of a node from the shapes of "
            "the node and of the nodes above it, `apply(weights, above)` gives an "
            f"array of the node's shape; not {given!r}."
        )
    return InverseFunctions(*given)


class GivenInverse(AbstractInverse):
    """A user-given inverse, applied to each node."""

    def __init__(
        self,
        functions: InverseFunctions,
        circuit: Circuit,
        sites: TargetSites,
        values: NodeArrays,
    ) -> None:
        self.functions, self.circuit = functions, circuit
        self.sites, self.values = sites, values

    @staticmethod
    def init(
        functions: InverseFunctions,
        circuit: Circuit,
        key: jax.Array,
        sites: TargetSites,
    ) -> dict[str, Any]:
        """Weights for each node; raises for loops and wrong shapes."""
        shapes = {n.name: jax.ShapeDtypeStruct(n.shape, n.dtype) for n in circuit.nodes}
        if OUTPUT in sites.passes:
            shapes[OUTPUT] = circuit.output_shape
        weights = {}
        for number, (name, above) in enumerate(sites.above.items()):
            _require_no_loop(circuit, name)
            given = {m: shapes[m] for m in above}
            own = jax.random.fold_in(key, number)
            weights[name] = functions.init(own, shapes[name], given)
            made = jax.eval_shape(functions.apply, weights[name], given)
            if jnp.shape(made) != shapes[name].shape:
                raise ValueError(
                    f"`inverse` returns shape {jnp.shape(made)} for the node {name!r}, "
                    f"which has shape {shapes[name].shape}."
                )
        return weights

    def back(self, weights: Any, above: NodeArrays) -> NodeArrays:
        """G_n of the values above each node."""
        return {n: self._inverse(weights, n, above) for n in self.sites.above}

    def _inverse(self, weights: Any, name: str, above: NodeArrays) -> jax.Array:
        read = {m: above[m] for m in self.sites.above[name]}
        return self.functions.apply(weights[name], read).astype(self.values[name].dtype)

    def changes(self, weights: Any, steps: NodeArrays, difference: bool) -> NodeArrays:
        """Target minus value, node by node from the loss to the input."""
        changes = dict(steps)
        for node in reversed(self.circuit.nodes):
            name = node.name
            if name in self.sites.above:
                targets = jax.tree.map(jnp.add, self.values, changes)
                made = self._inverse(weights, name, targets)
                rest = self.values[name]
                if difference:
                    rest = self._inverse(weights, name, self.values)
                changes[name] = made - rest + steps[name]
        return changes


def _require_no_loop(circuit: Circuit, name: str) -> None:
    if any(edge.later for edge in circuit.reach[name]):
        raise ValueError(
            f"Node {name!r} reaches a later step of its loop, so that its target needs "
            "that of the step after it, and a given `inverse` is called for all steps "
            "at once. Leave `inverse` at None: the default goes from step to step."
        )
