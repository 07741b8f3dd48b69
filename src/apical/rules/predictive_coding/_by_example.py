"""Numbers of each example: products and steps of trees whose leaves are nodes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit

Tree = dict[str, jax.Array]


class ByExample(NamedTuple):
    """Products by example, and steps of another size for each.

    Where an activity has no axis of examples, all examples are taken as one.
    """

    axes: dict[str, int | None]
    forms: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, circuit: Circuit) -> ByExample:
        """For the nodes of a circuit."""
        names = [n.name for n in circuit.nodes]
        found = {n: circuit.example_axes[n] for n in names}
        if any(axis is None for axis in found.values()):
            return cls.together(circuit)
        return cls(found, _forms(circuit))

    @classmethod
    def together(cls, circuit: Circuit) -> ByExample:
        """All examples taken as one."""
        return cls(dict.fromkeys(n.name for n in circuit.nodes), _forms(circuit))

    def dot(self, one: Tree, other: Tree) -> jax.Array:
        """The product of two trees for each example (or of all)."""
        parts = [self._summed(n, one[n] * other[n]) for n in one]
        return sum(parts[1:], start=parts[0])

    def _summed(self, name: str, product: jax.Array) -> jax.Array:
        form, axis = self.forms[name], self.axes[name]
        rest = [i for i in range(len(form)) if i != axis]
        return jnp.sum(product.reshape(form), rest)

    def times(self, numbers: jax.Array, tree: Tree) -> Tree:
        """Each example's part of a tree times its number."""
        return {n: self._times(n, numbers, x) for n, x in tree.items()}

    def _times(self, name: str, numbers: jax.Array, value: jax.Array) -> jax.Array:
        form, axis = self.forms[name], self.axes[name]
        numbers = numbers.astype(value.dtype)
        if axis is None:
            return numbers * value
        shape = [-1 if i == axis else 1 for i in range(len(form))]
        return (numbers.reshape(shape) * value.reshape(form)).reshape(value.shape)


def _forms(circuit: Circuit) -> dict[str, tuple[int, ...]]:
    """The shape in which the examples of each node have an axis of their own."""
    return {n.name: circuit.unfolded(n.name, n.shape) for n in circuit.nodes}


def ratio(above: jax.Array, below: jax.Array, otherwise: Any) -> jax.Array:
    """A quotient where the divisor is above 0, else something given."""
    fine = below > 0
    return jnp.where(fine, above / jnp.where(fine, below, 1), otherwise)
