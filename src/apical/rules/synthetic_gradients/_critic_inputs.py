"""Inputs of critics: the units of a node, and optionally the label, at each position.

| axis of a node                         | role                                        |
|----------------------------------------|---------------------------------------------|
| the last but the examples' (its units) | the critic's input and output               |
| every other                            | positions, which share the critic           |

`_axis_maps` maps the axes of the label to those of the node.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit
from .._axis_maps import AxisMap, axis_maps, example_axis_maps


class CriticInputs(NamedTuple):
    """The mapping between a node and the input and output of its critic.

    Attributes:
      node: its name.
      axes: its axes, and those of the label.
      conditioned: whether the critic reads the label too.
    """

    node: str
    axes: AxisMap
    conditioned: bool

    @property
    def axis(self) -> int | None:
        """The axis of the units; None if the node is one number for each example."""
        return self.axes.units[-1] if self.axes.units else None

    @property
    def units(self) -> int:
        """The number of outputs of the critic at each position."""
        return 1 if self.axis is None else self.axes.unfolded[self.axis]

    def inputs(self, value: jax.Array, label: jax.Array | None) -> jax.Array:
        """The node's value with its units last, and the label concatenated to them."""
        value = value.reshape(self.axes.unfolded)
        units = self._units_last(value)
        if not self.conditioned or label is None:
            return units
        beside = self._units_last(self._label_at_node(label))
        return jnp.concatenate([units, beside.astype(units.dtype)], axis=-1)

    def gradient(self, output: jax.Array) -> jax.Array:
        """The critic's output, with the axes of the node."""
        if self.axis is None:
            return output[..., 0].reshape(self.axes.shape)
        return jnp.moveaxis(output, -1, self.axis).reshape(self.axes.shape)

    def _label_at_node(self, label: jax.Array) -> jax.Array:
        """The label at each position, by a projection with identity matrices."""
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
    """The `CriticInputs` of each node; with `conditioned`, including the label."""
    found = axis_maps(circuit) if conditioned else example_axis_maps(circuit)
    for name, axes in found.items():
        if conditioned and not axes.units:
            raise ValueError(
                f"Node {name!r} has no axis of units beside which a label could be "
                "read. Leave `conditioned` at False."
            )
    return {n: CriticInputs(n, axes, conditioned) for n, axes in found.items()}
