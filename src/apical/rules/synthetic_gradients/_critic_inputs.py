"""Inputs of critics: a node's units, and the label beside them, at each position.

| axis of a node                         | role                                        |
|----------------------------------------|---------------------------------------------|
| the last but the examples' (its units) | what the critic reads, and what it returns  |
| every other                            | a position: the same critic at each of them |

The axes of the label meet those of the node as in `_axes`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit
from .._axis_maps import AxisMap, axis_maps, example_axis_maps


class CriticInputs(NamedTuple):
    """How the critic of one node reads it.

    Attributes:
      node: its name.
      axes: its axes, and those of the label.
      conditioned: whether the label is read too.
    """

    node: str
    axes: AxisMap
    conditioned: bool

    @property
    def axis(self) -> int | None:
        """The axis of the units; None: one number for each example."""
        return self.axes.units[-1] if self.axes.units else None

    @property
    def units(self) -> int:
        """How many numbers the critic returns at each position."""
        return 1 if self.axis is None else self.axes.unfolded[self.axis]

    def inputs(self, value: jax.Array, label: jax.Array | None) -> jax.Array:
        """The node's value with its units last, and the label beside them."""
        value = value.reshape(self.axes.unfolded)
        units = self._units_last(value)
        if not self.conditioned or label is None:
            return units
        beside = self._units_last(self._label_at_node(label))
        return jnp.concatenate([units, beside.astype(units.dtype)], axis=-1)

    def gradient(self, output: jax.Array) -> jax.Array:
        """What the critic returns, with the axes of the node."""
        if self.axis is None:
            return output[..., 0].reshape(self.axes.shape)
        return jnp.moveaxis(output, -1, self.axis).reshape(self.axes.shape)

    def _label_at_node(self, label: jax.Array) -> jax.Array:
        """The label at each position: its projection by identity matrices."""
        assert self.axis is not None
        shape, columns = list(self.axes.unfolded), self.axes.column_count
        positions = self.axes.unit_count // shape[self.axis]
        shape[self.axis] = columns
        identity = jnp.tile(jnp.eye(columns, dtype=label.dtype), (positions, 1))
        axes = self.axes._replace(unfolded=tuple(shape), shape=tuple(shape))
        return axes.project(identity, label)

    def _units_last(self, value: jax.Array) -> jax.Array:
        if self.axis is None:
            return value[..., None]
        return jnp.moveaxis(value, self.axis, -1)


def critic_inputs(circuit: Circuit, conditioned: bool) -> dict[str, CriticInputs]:
    """How each node is read by its critic; with `conditioned` beside the label."""
    found = axis_maps(circuit) if conditioned else example_axis_maps(circuit)
    for name, axes in found.items():
        if conditioned and not axes.units:
            raise ValueError(
                f"Node {name!r} has no axis of units beside which a label could be "
                "read. Leave `conditioned` at False."
            )
    return {n: CriticInputs(n, axes, conditioned) for n, axes in found.items()}
