"""A node's activity as a table: for each turn of a loop, a row for each example.

    value -> [turns, rows, units]

| axis of a node                     | becomes                                         |
|------------------------------------|-------------------------------------------------|
| the examples                       | rows                                            |
| steps that the output has too      | rows, where an output is read (`of_output`)     |
| every other loop                   | turns: each has an objective of its own         |
| every other (units, pixels, ...)   | units                                           |
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import Circuit
from .._wiring import Wiring, wirings


class Layout(NamedTuple):
    """The axes of one node, and its shape.

    Attributes:
      lead: the axes that become rows.
      turns: the loops that become turns.
      own: the axes that become units.
      loops: how many loops stand around the node.
      shape: the node's shape, the examples with an axis of their own.
      dtype: of the node.
    """

    lead: tuple[int, ...]
    turns: tuple[int, ...]
    own: tuple[int, ...]
    loops: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def units(self) -> int:
        """How many units a row has."""
        return math.prod(self.shape[i] for i in self.own)

    @property
    def rows(self) -> int:
        """How many rows there are in a turn."""
        return math.prod(self.shape[i] for i in self.lead)

    @property
    def inside(self) -> tuple[int, ...]:
        """The shape inside the loops."""
        return self.shape[self.loops :]

    @property
    def own_inside(self) -> tuple[int, ...]:
        """The axes of the units as they are inside the loops."""
        return tuple(i - self.loops for i in self.own)

    def table(self, value: jax.Array) -> jax.Array:
        """`[turns, rows, units]`."""
        form = value.reshape(self.shape)
        turned = jnp.transpose(form, (*self.turns, *self.lead, *self.own))
        return turned.reshape(-1, self.rows, self.units)


def layouts(circuit: Circuit, rule: str) -> dict[str, Layout]:
    """Each node with a row for each example."""
    found = {}
    for node in circuit.nodes:
        axis = circuit.example_axes[node.name]
        if axis is None:
            raise ValueError(
                f"Node {node.name!r} has no axis of examples, and {rule} compares "
                "examples. See that `batch` describes the arguments."
            )
        loops = len(node.loops)
        turns = tuple(i for i in range(loops) if i != axis)
        form = circuit.unfolded(node.name, node.shape)
        own = tuple(i for i in range(loops, len(form)) if i != axis)
        found[node.name] = _layout(circuit, node.name, (axis,), turns, own, rule)
    return found


def of_output(circuit: Circuit, rule: str) -> dict[str, tuple[Layout, Wiring]]:
    """Each node with a row for each example and each step of the output."""
    found = {}
    for name, wiring in wirings(circuit).items():
        lead = wiring.node[: wiring.paired]
        turns = wiring.node[wiring.paired : wiring.paired + wiring.repeated]
        own = wiring.node[wiring.paired + wiring.repeated :]
        found[name] = (_layout(circuit, name, lead, turns, own, rule), wiring)
    return found


def _layout(
    circuit: Circuit,
    name: str,
    lead: Iterable[int],
    turns: Iterable[int],
    own: Iterable[int],
    rule: str,
) -> Layout:
    node = next(n for n in circuit.nodes if n.name == name)
    if jnp.issubdtype(node.dtype, jnp.complexfloating):
        raise ValueError(
            f"Node {name!r} is {node.dtype}, and the objectives of {rule} are defined "
            "for real activities. Leave it out by `nodes='marked'`."
        )
    parts = (tuple(lead), tuple(turns), tuple(own))
    form = circuit.unfolded(name, node.shape)
    return Layout(*parts, len(node.loops), form, node.dtype)


def output_table(wiring: Wiring, output: jax.Array) -> jax.Array:
    """An array of the output's shape as `[rows, columns]`, the rows those of a node."""
    moved = jnp.transpose(output.reshape(wiring.forms[1]), wiring.output)
    return moved.reshape(math.prod(moved.shape[: wiring.paired]), -1)


def as_outputs(wiring: Wiring, tables: jax.Array, shape: Iterable[int]) -> jax.Array:
    """Tables `[turns, rows, columns]` as arrays of the output's shape, one a turn."""
    moved = tables.reshape(-1, *(wiring.forms[1][i] for i in wiring.output))
    back = np.argsort(wiring.output).tolist()
    turned = jnp.transpose(moved, (0, *(i + 1 for i in back)))
    return turned.reshape(-1, *shape)
