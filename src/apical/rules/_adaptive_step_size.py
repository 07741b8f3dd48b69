"""Step sizes of inference: a given rate, or one adapted to the curvature.

    rate_t = min(sqrt(1 + rate_t-1 / rate_t-2) rate_t-1,
                 |v_t - v_t-1| / (2 |dE_t - dE_t-1|))

for each example separately, so that none depends on its batch; v are the values and dE
their gradients, which plain steps need too. Malitsky & Mishchenko 2020, ICML.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..circuit import Circuit
from ._numerics import NodeArrays, upcast


class PerExample(NamedTuple):
    """Inner products and scalar multiples of trees, computed per example.

    If an activity has no axis of examples, the whole batch counts as one example.

    Attributes:
      axes: the axis of the examples of each node, in its shape of `forms`.
      forms: each node's shape with a separate axis for the examples.
    """

    axes: dict[str, int | None]
    forms: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, circuit: Circuit) -> PerExample:
        """For the nodes of a circuit."""
        names = [n.name for n in circuit.nodes]
        found = {n: circuit.example_axes[n] for n in names}
        if any(axis is None for axis in found.values()):
            return cls.whole_batch(circuit)
        return cls(found, _forms(circuit))

    @classmethod
    def whole_batch(cls, circuit: Circuit) -> PerExample:
        """One inner product for the whole batch."""
        return cls(dict.fromkeys(n.name for n in circuit.nodes), _forms(circuit))

    def dot(self, one: NodeArrays, other: NodeArrays) -> jax.Array:
        """The inner product of two trees, per example (or of the whole batch)."""
        parts = [self._summed(n, one[n] * other[n]) for n in one]
        return sum(parts[1:], start=parts[0])

    def _summed(self, name: str, product: jax.Array) -> jax.Array:
        form, axis = self.forms[name], self.axes[name]
        rest = [i for i in range(len(form)) if i != axis]
        return jnp.sum(product.reshape(form), rest)

    def times(self, numbers: jax.Array, tree: NodeArrays) -> NodeArrays:
        """A tree with the entries of each example multiplied by its number."""
        return {n: self._times(n, numbers, x) for n, x in tree.items()}

    def _times(self, name: str, numbers: jax.Array, value: jax.Array) -> jax.Array:
        form, axis = self.forms[name], self.axes[name]
        numbers = numbers.astype(value.dtype)
        if axis is None:
            return numbers * value
        shape = [-1 if i == axis else 1 for i in range(len(form))]
        return (numbers.reshape(shape) * value.reshape(form)).reshape(value.shape)


def _forms(circuit: Circuit) -> dict[str, tuple[int, ...]]:
    """Each node's shape with a separate axis for the examples."""
    return {n.name: circuit.unfolded(n.name, n.shape) for n in circuit.nodes}


def ratio(above: jax.Array, below: jax.Array, otherwise: Any) -> jax.Array:
    """`above / below` where the divisor is positive, else `otherwise`."""
    fine = below > 0
    return jnp.where(fine, above / jnp.where(fine, below, 1), otherwise)


# The rate of the first step, before a curvature is known, and its growth after that.
_FIRST, _GROWTH = 0.01, 1e9


class StepMemory(NamedTuple):
    """The last point and gradient, the last rates and their growth, and the steps."""

    point: NodeArrays
    slope: NodeArrays
    rate: jax.Array
    growth: jax.Array
    taken: jax.Array


def adaptive_steps(by_example: PerExample) -> optax.GradientTransformation:
    """Adaptive steps as an optax transformation."""

    def init(params: Any) -> Any:
        none = upcast(jnp.zeros_like(by_example.dot(params, params)))
        start = jnp.zeros((), int)
        return StepMemory(params, params, none + _FIRST, none + _GROWTH, start)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        slope, memory, point = updates, state, params
        moved = upcast(jax.tree.map(jnp.subtract, point, memory.point))
        bent = upcast(jax.tree.map(jnp.subtract, slope, memory.slope))
        distance, change = by_example.dot(moved, moved), by_example.dot(bent, bent)
        # The curvature is unknown where the point or the gradient did not change.
        allowed = jnp.sqrt(ratio(distance / 4, change, jnp.square(memory.rate)))
        grown = jnp.sqrt(1 + memory.growth) * memory.rate
        rate = jnp.where(distance > 0, jnp.minimum(grown, allowed), memory.rate)
        rate = jnp.where(memory.taken > 0, rate, memory.rate)
        growth = jnp.where(memory.taken > 0, rate / memory.rate, memory.growth)
        after = StepMemory(point, slope, rate, growth, memory.taken + 1)
        return by_example.times(-rate, slope), after

    return optax.GradientTransformation(init, update)


def as_optimizer(
    given: optax.GradientTransformation | None, rate: Any, circuit: Circuit
) -> optax.GradientTransformation:
    """The given transformation, or plain gradient steps of a (traced) rate.

    Without a rate, adaptive steps: for each example, or for the batch as a whole where
    the loss function cannot be traced with another batch size.
    """
    if given is not None:
        return given
    if rate is None:
        try:
            by_example = PerExample.of(circuit)
        except ValueError:
            by_example = PerExample.whole_batch(circuit)
        return adaptive_steps(by_example)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        del params
        return jax.tree.map(lambda g: (-rate * g).astype(g.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
