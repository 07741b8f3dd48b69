"""The axes of each node (examples, steps, loops, units) and their axes in the output.

    table[loop, row, unit]                                 a node's value
    table[row, column]                                     an array like the output
    signal[row, unit] = sum_c matrix[unit, c] error[row, c]

| axis of a node                             | is read as | entry of the error    |
|--------------------------------------------|------------|-----------------------|
| the examples                               | rows       | of the same example   |
| steps that the output has too              | rows       | of the same step      |
| a loop that the output does not have       | loops      | the same in each turn |
| every other axis (units, pixels, tokens)   | units      | a row of the matrix   |

All axes of the output that are not rows are columns, over which a projection sums. The
last axis of the output is that of its units; where a head of one unit lacks it
(`(h @ w)[..., 0]`), an axis of one column is added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..circuit import OUTPUT, Circuit, Node, reshape, reversals


class AxisMap(NamedTuple):
    """The axes of one node, and those of the output that correspond to them.

    Attributes:
      rows: the node's axes of examples, and of steps that the output has too.
      loops: the loops around the node that the output does not have.
      units: all other axes of the node.
      output_rows: the axes of the output that correspond to `rows`.
      columns: all other axes of the output.
      unfolded: the node's shape, with a separate axis for the examples.
      output_unfolded: the same of the output.
      shape: the node's own shape (heads may be folded into the examples).
      depth: the number of loops around the node.
      dtype: the node's dtype.
    """

    rows: tuple[int, ...]
    loops: tuple[int, ...]
    units: tuple[int, ...]
    output_rows: tuple[int, ...]
    columns: tuple[int, ...]
    unfolded: tuple[int, ...]
    output_unfolded: tuple[int, ...]
    shape: tuple[int, ...]
    depth: int
    dtype: Any

    @property
    def row_count(self) -> int:
        """The number of rows in one turn of the loops."""
        return _size(self.unfolded, self.rows)

    @property
    def unit_count(self) -> int:
        """The number of units in a row."""
        return _size(self.unfolded, self.units)

    @property
    def column_count(self) -> int:
        """The number of columns in a row of the output."""
        return _size(self.output_unfolded, self.columns)

    @property
    def shape_in_loop(self) -> tuple[int, ...]:
        """The unfolded shape in one turn of all loops around the node."""
        return self.unfolded[self.depth :]

    @property
    def units_in_loop(self) -> tuple[int, ...]:
        """The axes of the units in that shape."""
        return tuple(i - self.depth for i in self.units)

    def project(self, matrix: jax.Array, error: jax.Array) -> jax.Array:
        """The signal above: an array of the output's shape, projected to the node.

        Args:
          matrix: `[units, columns]`.
          error: an array of the output's shape.
        """
        error = jnp.transpose(reshape(error, self.output_unfolded), self._output_axes)
        lead = error.shape[: len(self.rows)]
        signal = reshape(error, (*lead, -1)) @ matrix.T
        axes = (*self.rows, *self.loops, *self.units)
        shape = [self.unfolded[i] for i in axes]
        ones, units = [1] * len(self.loops), [self.unfolded[i] for i in self.units]
        once = jnp.broadcast_to(reshape(signal, (*lead, *ones, *units)), shape)
        return reshape(jnp.transpose(once, np.argsort(axes).tolist()), self.shape)

    def table(self, value: jax.Array) -> jax.Array:
        """The node's value as `[loops, rows, units]`."""
        axes = (*self.loops, *self.rows, *self.units)
        moved = jnp.transpose(reshape(value, self.unfolded), axes)
        return reshape(moved, (-1, self.row_count, self.unit_count))

    def output_table(self, output: jax.Array) -> jax.Array:
        """An array of the output's shape as `[rows, columns]`."""
        moved = jnp.transpose(reshape(output, self.output_unfolded), self._output_axes)
        return reshape(moved, (math.prod(moved.shape[: len(self.rows)]), -1))

    def as_outputs(self, tables: jax.Array, shape: Sequence[int]) -> jax.Array:
        """Tables `[loops, rows, columns]` as arrays like the output, one per turn."""
        axes = self._output_axes
        moved = reshape(tables, (-1, *(self.output_unfolded[i] for i in axes)))
        back = [i + 1 for i in np.argsort(axes).tolist()]
        return reshape(jnp.transpose(moved, (0, *back)), (-1, *shape))

    @property
    def _output_axes(self) -> tuple[int, ...]:
        return (*self.output_rows, *self.columns)


def axis_maps(circuit: Circuit) -> dict[str, AxisMap]:
    """The axes of each node; its rows are the examples and the output's steps."""
    outputs = circuit.batch.outputs
    shape = circuit.unfolded(OUTPUT, circuit.output_shape.shape)
    if outputs.alone and outputs.shape.shape != outputs.with_units[0]:
        shape = (*shape, 1)  # a single unit, without an axis
    there = circuit.example_axes[OUTPUT]
    return {n.name: _with_output(circuit, n, shape, there) for n in circuit.nodes}


def axis_maps_by_output(circuit: Circuit) -> dict[str, list[AxisMap]]:
    """The axes of each node, for each output by itself.

    Outputs that differ only in their units count as one. Of others, each keeps its own
    steps: the error of a head at every step is that of the same step, whatever other
    heads there are.
    """
    outputs = circuit.batch.outputs
    if outputs.alone or outputs.alike:
        return {name: [axes] for name, axes in axis_maps(circuit).items()}
    forms = outputs.unfolded_forms()
    return {
        n.name: [_with_output(circuit, n, shape, axis) for shape, axis in forms]
        for n in circuit.nodes
    }


def example_axis_maps(circuit: Circuit) -> dict[str, AxisMap]:
    """The axes of each node; its rows are the examples only (if it has any)."""
    return {n.name: _axis_map(circuit, n, _examples(circuit, n)) for n in circuit.nodes}


def _examples(circuit: Circuit, node: Node) -> list[tuple[int, int]]:
    axis = circuit.example_axes[node.name]
    return [] if axis is None else [(axis, 0)]


def _axis_map(
    circuit: Circuit,
    node: Node,
    paired: list[tuple[int, int]],
    output: tuple[int, ...] | None = None,
) -> AxisMap:
    """The axes of a node, given its row axes, each paired with the output's."""
    unfolded, depth = circuit.unfolded(node.name, node.shape), len(node.loops)
    rows = tuple(axis for axis, _ in paired)
    others = () if output is None else tuple(axis for _, axis in paired)
    return AxisMap(
        rows,
        tuple(i for i in range(depth) if i not in rows),
        tuple(i for i in range(depth, len(unfolded)) if i not in rows),
        others,
        tuple(i for i in range(len(output or ())) if i not in others),
        unfolded,
        output or (),
        node.shape,
        depth,
        node.dtype,
    )


def _with_output(
    circuit: Circuit, node: Node, output: tuple[int, ...], there: int | None
) -> AxisMap:
    here = circuit.example_axes[node.name]
    if (here is None) != (there is None):
        which = f"Node {node.name!r}" if here is None else "The output"
        raise ValueError(
            f"{which} has no axis of examples: it is the same for all of them, so no "
            "example's error belongs to it. Leave it out by `nodes='marked'`, or see "
            "that `batch_axes` describes the arguments."
        )
    unfolded = circuit.unfolded(node.name, node.shape)
    examples = [] if here is None or there is None else [(here, there)]
    steps = _shared_steps(unfolded, len(node.loops), here, output, there)
    turned = reversals(circuit, node.name) if steps else ()
    if turned:
        raise ValueError(
            f"Between node {node.name!r} and the output an axis is reversed, at "
            f"{turned[0]}, so the error of a step cannot be told from the "
            "position in the output. Run the loop backwards (`lax.scan(..., "
            "reverse=True)`) in place of reversing its inputs and outputs, or mark the "
            "output before that line with `apical.output`."
        )
    return _axis_map(circuit, node, [*examples, *steps], output)


def _shared_steps(
    shape: tuple[int, ...],
    depth: int,
    examples: int | None,
    output: tuple[int, ...],
    output_examples: int | None,
) -> list[tuple[int, int]]:
    """The axes of steps that the node shares with the output, as pairs.

    The output's axes of steps are all its axes except that of the examples and the last
    one, of its units. The corresponding axis of the node is the first of the same
    length, in this order: the axis at the same position, the loops, the other axes, and
    the last axis unless it is the only one.
    """
    steps = [i for i in range(len(output)) if i != output_examples][:-1]
    loops = [i for i in range(depth) if i != examples]
    inner = [i for i in range(depth, len(shape)) if i != examples]
    found: list[tuple[int, int]] = []
    for place, step in enumerate(steps):
        first = inner[:-1][place : place + 1]
        last = inner[-1:] if len(inner) > 1 else []
        taken = [axis for axis, _ in found]
        for axis in (*first, *loops, *inner[:-1], *last):
            if shape[axis] == output[step] and axis not in taken:
                found.append((axis, step))
                break
    return found


def _size(shape: Sequence[int], axes: Sequence[int]) -> int:
    return math.prod(shape[i] for i in axes)


def require_examples_of_real_nodes(circuit: Circuit, rule: str) -> None:
    """Refuse nodes that are the same for all examples, and complex ones."""
    for node in circuit.nodes:
        if circuit.example_axes[node.name] is None:
            raise ValueError(
                f"Node {node.name!r} has no axis of examples, and {rule} compares "
                "examples. See that `batch_axes` describes the arguments."
            )
    require_real_nodes(circuit, rule)


def require_real_nodes(circuit: Circuit, rule: str) -> None:
    """Refuse complex nodes."""
    for node in circuit.nodes:
        if jnp.issubdtype(node.dtype, jnp.complexfloating):
            raise ValueError(
                f"Node {node.name!r} is {node.dtype}, and the objectives of {rule} are "
                "defined for real activities. Leave it out by `nodes='marked'`."
            )
