"""What the critic of a node reads: its units, and the label beside them.

| axis of a node                     | to its critic                               |
|------------------------------------|---------------------------------------------|
| the last but the examples' (units) | what it reads, and what it gives            |
| every other                        | a position: the same critic at each of them |
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit, Node
from .._wiring import Wiring, wirings


class Reading(NamedTuple):
    """How the critic of one node reads it.

    Attributes:
      node: its name.
      axis: that of its units; None: one number for each example.
      forms: its shape with an axis of the examples alone, and its own shape.
      wiring: how the label meets the node's axes; None: it is not read.
    """

    node: str
    axis: int | None
    forms: tuple[tuple[int, ...], tuple[int, ...]]
    wiring: Wiring | None

    @property
    def units(self) -> int:
        """How many numbers it gives at each position."""
        return 1 if self.axis is None else self.forms[0][self.axis]

    def inputs(self, value: jax.Array, label: jax.Array | None) -> jax.Array:
        """The node's value with its units last, and the label beside them."""
        value = value.reshape(self.forms[0])
        units = self._units_last(value)
        if self.wiring is None or label is None:
            return units
        beside = self._units_last(self._at_node(self.wiring, value, label))
        return jnp.concatenate([units, beside.astype(units.dtype)], axis=-1)

    def _at_node(self, wiring: Wiring, value: jax.Array, label: jax.Array) -> jax.Array:
        """The label at each position: an identity carried along the wiring."""
        assert self.axis is not None
        shape, outputs = list(value.shape), wiring.size[1]
        positions = wiring.size[0] // shape[self.axis]
        shape[self.axis] = outputs
        identity = jnp.tile(jnp.eye(outputs, dtype=label.dtype), (positions, 1))
        forms = (tuple(shape), wiring.forms[1])
        return wiring._replace(forms=forms, shape=forms[0]).carry(identity, label)

    def gradient(self, output: jax.Array) -> jax.Array:
        """What the critic gives, with the axes of the node."""
        if self.axis is None:
            return output[..., 0].reshape(self.forms[1])
        return jnp.moveaxis(output, -1, self.axis).reshape(self.forms[1])

    def _units_last(self, value: jax.Array) -> jax.Array:
        if self.axis is None:
            return value[..., None]
        return jnp.moveaxis(value, self.axis, -1)


def readings(circuit: Circuit, conditioned: bool) -> dict[str, Reading]:
    """A `Reading` for each node."""
    wired = wirings(circuit) if conditioned else {}
    return {n.name: _reading(circuit, n, wired.get(n.name)) for n in circuit.nodes}


def _reading(circuit: Circuit, node: Node, wiring: Wiring | None) -> Reading:
    examples = circuit.example_axes[node.name]
    form = circuit.unfolded(node.name, node.shape)
    inside = range(len(node.loops), len(form))
    own = [i for i in inside if i != examples]
    if wiring is not None:
        own = list(wiring.node[wiring.paired + wiring.repeated :])
    if wiring is not None and not own:
        raise ValueError(
            f"Node {node.name!r} has no axis of units beside which a label could be "
            "read. Leave `conditioned` at False."
        )
    axis = own[-1] if own else None
    return Reading(node.name, axis, (form, node.shape), wiring)
