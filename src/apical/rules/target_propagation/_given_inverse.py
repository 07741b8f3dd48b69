"""Inverses that the user brings: one function for each node.

    t_n = s_n + G_n(t above) - G_n(s above)

Targets come down node by node, from the loss back to the input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit
from ._places import OUTPUT, Places, Values


class Pair(NamedTuple):
    """What a user hands in: how weights are made, and what is done with them."""

    init: Callable[[jax.Array, Any, dict[str, Any]], Any]
    apply: Callable[[Any, Values], jax.Array]


def as_pair(given: Any) -> Pair:
    """A pair of functions, or refuse."""
    pair = isinstance(given, tuple) and len(given) == 2 and all(map(callable, given))
    if not pair:
        raise TypeError(
            "`inverse` must be a pair of functions `(init, apply)`: `init(key, node, "
            "above)` makes the weights for the inverse of a node from the shapes of "
            "the node and of what stands above it, `apply(weights, above)` gives an "
            f"array of the node's shape; not {given!r}."
        )
    return Pair(*given)


class GivenInverse:
    """The inverses of one circuit at the values of one forward pass."""

    def __init__(
        self, pair: Pair, circuit: Circuit, where: Places, values: Values
    ) -> None:
        self.pair, self.circuit = pair, circuit
        self.where, self.values = where, values

    @staticmethod
    def init(
        pair: Pair, circuit: Circuit, key: jax.Array, where: Places
    ) -> dict[str, Any]:
        """Weights for each node; refuses loops and other shapes."""
        shapes = {n.name: jax.ShapeDtypeStruct(n.shape, n.dtype) for n in circuit.nodes}
        if OUTPUT in where.made:
            shapes[OUTPUT] = circuit.output_shape
        weights = {}
        for number, (name, above) in enumerate(where.above.items()):
            _require_no_loop(circuit, name)
            given = {m: shapes[m] for m in above}
            own = jax.random.fold_in(key, number)
            weights[name] = pair.init(own, shapes[name], given)
            made = jax.eval_shape(pair.apply, weights[name], given)
            if jnp.shape(made) != shapes[name].shape:
                raise ValueError(
                    f"`inverse` returns shape {jnp.shape(made)} for the node {name!r}, "
                    f"which has shape {shapes[name].shape}."
                )
        return weights

    def back(self, weights: Any, above: Values) -> Values:
        """G_n of what stands above each node."""
        return {n: self._inverse(weights, n, above) for n in self.where.above}

    def _inverse(self, weights: Any, name: str, above: Values) -> jax.Array:
        read = {m: above[m] for m in self.where.above[name]}
        return self.pair.apply(weights[name], read).astype(self.values[name].dtype)

    def changes(self, weights: Any, steps: Values, difference: bool) -> Values:
        """How far each target lies from the value."""
        changes = dict(steps)
        for node in reversed(self.circuit.nodes):
            name = node.name
            if name in self.where.above:
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
            f"Node {name!r} reaches a later step of its loop, so that its target waits "
            "for that of the step after it, and an `inverse` of one's own is called "
            "for all steps at once. Leave `inverse` at None: the default goes from "
            "step to step."
        )
