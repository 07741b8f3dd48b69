"""Step sizes of inference: a given rate, or one adapted to the curvature.

    rate_t = min(sqrt(1 + rate_t-1 / rate_t-2) rate_t-1,
                 |v_t - v_t-1| / (2 |dE_t - dE_t-1|))

for each example separately, so that none depends on its batch; v are the values and dE
their gradients, which plain steps need too. Malitsky & Mishchenko 2020, ICML.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..circuit import Circuit, over_devices
from ._numerics import NodeArrays, upcast


@dataclass(frozen=True)
class ExampleAxis:
    """The axis of the examples in an array: `axis` of its shape `form`, or none."""

    form: tuple[int, ...]
    axis: int | None


class PerExample(NamedTuple):
    """Inner products and scalar multiples of trees, computed per example.

    If some array has no axis of examples, the whole batch counts as one example.

    Attributes:
      layout: a tree with the `ExampleAxis` of each array; its form is the shape of the
        array with a separate axis for the examples.
    """

    layout: Any

    @classmethod
    def of(cls, circuit: Circuit) -> PerExample:
        """For the nodes of a circuit."""
        axes = circuit.example_axes
        return cls(
            {
                n.name: ExampleAxis(circuit.unfolded(n.name, n.shape), axes[n.name])
                for n in circuit.nodes
            }
        ).or_whole_batch

    @classmethod
    def whole_batch(cls, circuit: Circuit) -> PerExample:
        """One inner product for the whole batch."""
        return cls({n.name: ExampleAxis(n.shape, None) for n in circuit.nodes})

    @property
    def or_whole_batch(self) -> PerExample:
        """For the whole batch if some array has no axis of examples."""
        found = jax.tree.leaves(self.layout)
        if all(each.axis is not None for each in found):
            return self
        return PerExample(
            jax.tree.map(lambda each: replace(each, axis=None), self.layout)
        )

    def dot(self, one: Any, other: Any) -> jax.Array:
        """The inner product of two trees, per example (or of the whole batch)."""
        parts: list[jax.Array] = jax.tree.leaves(
            jax.tree.map(lambda at, a, b: _summed(at, a * b), self.layout, one, other)
        )
        return sum(parts[1:], start=parts[0]) if parts else jnp.zeros(())

    def times(self, numbers: jax.Array, tree: Any) -> Any:
        """A tree with the entries of each example multiplied by its number."""
        return jax.tree.map(lambda at, x: _times(at, numbers, x), self.layout, tree)


def _summed(at: ExampleAxis, product: jax.Array) -> jax.Array:
    rest = [i for i in range(len(at.form)) if i != at.axis]
    found = jnp.sum(product.reshape(at.form), rest)
    return over_devices(found) if at.axis is None else found


def _times(at: ExampleAxis, numbers: jax.Array, value: jax.Array) -> jax.Array:
    numbers = numbers.astype(value.dtype)
    if at.axis is None:
        return numbers * value
    shape = [-1 if i == at.axis else 1 for i in range(len(at.form))]
    return (numbers.reshape(shape) * value.reshape(at.form)).reshape(value.shape)


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
