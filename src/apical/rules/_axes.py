"""How the axes of the output meet those of a node: who hears which part of an error.

    signal[example, step, unit] = sum_o matrix[unit, o] error[example, step, o]

| axis of a node                      | what it hears                              |
|-------------------------------------|--------------------------------------------|
| the examples                        | the error of its own example               |
| steps that the output has too       | the error of its own step                  |
| a loop that the output has not      | the same at every turn                     |
| every other (units, pixels, tokens) | rows of the matrix of its own              |

What of the output is neither an example nor a step that the node has is summed: the
columns of the matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..circuit import OUTPUT, Circuit, Node


class AxisMap(NamedTuple):
    """One node and the output, axis by axis.

    Attributes:
      node: the node's axes: the examples, its paired steps, the loops in which it hears
        the same at every turn, and all others.
      output: the output's axes: the examples, the paired steps, and all others.
      paired: how many axes both have: the examples and the steps.
      repeated: how many loops hear the same at every turn.
      forms: the shapes of the node and of the output in which the examples have an
        axis of their own (heads may be folded into it).
      shape: the node's shape.
      size: the matrix's rows and columns.
    """

    node: tuple[int, ...]
    output: tuple[int, ...]
    paired: int
    repeated: int
    forms: tuple[tuple[int, ...], tuple[int, ...]]
    shape: tuple[int, ...]
    size: tuple[int, int]

    def carry(self, matrix: jax.Array, error: jax.Array) -> jax.Array:
        """The signal at the node, of its shape, from an array of the output's shape."""
        form, output = self.forms
        error = jnp.transpose(error.reshape(output), self.output)
        lead = error.shape[: self.paired]
        signal = error.reshape(*lead, -1) @ matrix.T
        turned = [form[i] for i in self.node]
        own = turned[self.paired + self.repeated :]
        once = signal.reshape(*lead, *[1] * self.repeated, *own)
        back = np.argsort(self.node).tolist()
        return jnp.transpose(jnp.broadcast_to(once, turned), back).reshape(self.shape)


def axis_maps(circuit: Circuit) -> dict[str, AxisMap]:
    """An `AxisMap` for each node."""
    output = circuit.unfolded(OUTPUT, circuit.output_shape.shape)
    return {n.name: _wiring(circuit, n, output) for n in circuit.nodes}


def _wiring(circuit: Circuit, node: Node, output: tuple[int, ...]) -> AxisMap:
    mine, theirs = (circuit.example_axes[site] for site in (node.name, OUTPUT))
    if (mine is None) != (theirs is None):
        which = f"Node {node.name!r}" if mine is None else "The output"
        raise ValueError(
            f"{which} has no axis of examples: it is the same for all of them, so no "
            "example's error belongs to it. Leave it out by `nodes='marked'`, or see "
            "that `batch_axes` describes the arguments."
        )
    form = circuit.unfolded(node.name, node.shape)
    inside = len(node.loops)
    examples = [] if mine is None else [(mine, theirs)]
    paired = [*examples, *_steps(form, inside, mine, output, theirs)]
    ours, others = [a for a, _ in paired], [b for _, b in paired]
    loops = [i for i in range(inside) if i not in ours]
    own = [i for i in range(inside, len(form)) if i not in ours]
    rest = [i for i in range(len(output)) if i not in others]
    return AxisMap(
        (*ours, *loops, *own),
        (*others, *rest),
        len(paired),
        len(loops),
        (form, output),
        node.shape,
        (_entries(form, own), _entries(output, rest)),
    )


def _entries(shape: Sequence[int], axes: Sequence[int]) -> int:
    return math.prod(shape[i] for i in axes)


def _steps(
    form: tuple[int, ...],
    inside: int,
    mine: int | None,
    output: tuple[int, ...],
    theirs: int | None,
) -> list[tuple[int, int]]:
    """Each axis of steps of the output (all but the last) with the node's, if any.

    The node's is the first axis of that length among: the same place, the loops, the
    other axes, and the last one where it is not the only one.
    """
    steps = [i for i in range(len(output)) if i != theirs][:-1]
    loops = [i for i in range(inside) if i != mine]
    inner = [i for i in range(inside, len(form)) if i != mine]
    found: list[tuple[int, int]] = []
    for place, step in enumerate(steps):
        first = inner[:-1][place : place + 1]
        last = inner[-1:] if len(inner) > 1 else []
        taken = [a for a, _ in found]
        for axis in (*first, *loops, *inner[:-1], *last):
            if form[axis] == output[step] and axis not in taken:
                found.append((axis, step))
                break
    return found


# ---- A node's activity as a table: for each turn of a loop, a row for each example.
#
#     value -> [turns, rows, units]
#
# | axis of a node                     | becomes
# |
# |------------------------------------|----------------------------------------------
# ---|
# | the examples                       | rows
# |
# | steps that the output has too      | rows, where an output is read (`of_output`)
# |
# | every other loop                   | turns: each has an objective of its own
# |
# | every other (units, pixels, ...)   | units
# |


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
                "examples. See that `batch_axes` describes the arguments."
            )
        loops = len(node.loops)
        turns = tuple(i for i in range(loops) if i != axis)
        form = circuit.unfolded(node.name, node.shape)
        own = tuple(i for i in range(loops, len(form)) if i != axis)
        found[node.name] = _layout(circuit, node.name, (axis,), turns, own, rule)
    return found


def of_output(circuit: Circuit, rule: str) -> dict[str, tuple[Layout, AxisMap]]:
    """Each node with a row for each example and each step of the output."""
    found = {}
    for name, wiring in axis_maps(circuit).items():
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


def output_table(wiring: AxisMap, output: jax.Array) -> jax.Array:
    """An array of the output's shape as `[rows, columns]`, the rows those of a node."""
    moved = jnp.transpose(output.reshape(wiring.forms[1]), wiring.output)
    return moved.reshape(math.prod(moved.shape[: wiring.paired]), -1)


def as_outputs(wiring: AxisMap, tables: jax.Array, shape: Iterable[int]) -> jax.Array:
    """Tables `[turns, rows, columns]` as arrays of the output's shape, one a turn."""
    moved = tables.reshape(-1, *(wiring.forms[1][i] for i in wiring.output))
    back = np.argsort(wiring.output).tolist()
    turned = jnp.transpose(moved, (0, *(i + 1 for i in back)))
    return turned.reshape(-1, *shape)


# ---- What the critic of a node reads: its units, and the label beside them.
#
# | axis of a node                     | to its critic                               |
# |------------------------------------|---------------------------------------------|
# | the last but the examples' (units) | what it reads, and what it gives            |
# | every other                        | a position: the same critic at each of them |


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
    wiring: AxisMap | None

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

    def _at_node(
        self, wiring: AxisMap, value: jax.Array, label: jax.Array
    ) -> jax.Array:
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
    wired = axis_maps(circuit) if conditioned else {}
    return {n.name: _reading(circuit, n, wired.get(n.name)) for n in circuit.nodes}


def _reading(circuit: Circuit, node: Node, wiring: AxisMap | None) -> Reading:
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
