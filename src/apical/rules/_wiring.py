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
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..circuit import Circuit, Node


class Wiring(NamedTuple):
    """One node and the output, axis by axis.

    Attributes:
      node: the node's axes: the examples, its paired steps, the loops in which it hears
        the same at every turn, and all others.
      output: the output's axes: the examples, the paired steps, and all others.
      paired: how many axes both have: the examples and the steps.
      repeated: how many loops hear the same at every turn.
      shape: the node's shape.
      size: the matrix's rows and columns.
    """

    node: tuple[int, ...]
    output: tuple[int, ...]
    paired: int
    repeated: int
    shape: tuple[int, ...]
    size: tuple[int, int]

    def carry(self, matrix: jax.Array, error: jax.Array) -> jax.Array:
        """The signal at the node, of its shape, from an array of the output's shape."""
        error = jnp.transpose(error, self.output)
        lead = error.shape[: self.paired]
        signal = error.reshape(*lead, -1) @ matrix.T
        turned = [self.shape[i] for i in self.node]
        own = turned[self.paired + self.repeated :]
        once = signal.reshape(*lead, *[1] * self.repeated, *own)
        return jnp.transpose(
            jnp.broadcast_to(once, turned), tuple(np.argsort(self.node).tolist())
        )


def wirings(circuit: Circuit) -> dict[str, Wiring]:
    """A `Wiring` for each node."""
    axes, output = circuit.example_axes, circuit.output_shape.shape
    return {n.name: _wiring(n, axes, output) for n in circuit.nodes}


def _wiring(node: Node, axes: Any, output: tuple[int, ...]) -> Wiring:
    mine, theirs = axes[node.name], axes["output"]
    if (mine is None) != (theirs is None):
        which = f"Node {node.name!r}" if mine is None else "The output"
        raise ValueError(
            f"{which} has no axis of examples: it is the same for all of them, so no "
            "example's error belongs to it. Leave it out by `nodes='marked'`, or see "
            "that `batch` describes the arguments."
        )
    examples = [] if mine is None else [(mine, theirs)]
    paired = [*examples, *_steps(node, mine, output, theirs)]
    ours, others = [a for a, _ in paired], [b for _, b in paired]
    loops = [i for i in range(len(node.loops)) if i not in ours]
    own = [i for i in range(len(node.loops), len(node.shape)) if i not in ours]
    rest = [i for i in range(len(output)) if i not in others]
    return Wiring(
        (*ours, *loops, *own),
        (*others, *rest),
        len(paired),
        len(loops),
        node.shape,
        (_entries(node.shape, own), _entries(output, rest)),
    )


def _entries(shape: Sequence[int], axes: Sequence[int]) -> int:
    return math.prod(shape[i] for i in axes)


def _steps(
    node: Node, mine: int | None, output: tuple[int, ...], theirs: int | None
) -> list[tuple[int, int]]:
    """Each axis of steps of the output (all but the last) with the node's, if any.

    The node's is the first axis of that length among: the same place, the loops, the
    other axes, and the last one where it is not the only one.
    """
    steps = [i for i in range(len(output)) if i != theirs][:-1]
    loops = [i for i in range(len(node.loops)) if i != mine]
    inner = [i for i in range(len(node.loops), len(node.shape)) if i != mine]
    found: list[tuple[int, int]] = []
    for place, step in enumerate(steps):
        first = inner[:-1][place : place + 1]
        last = inner[-1:] if len(inner) > 1 else []
        taken = [a for a, _ in found]
        for axis in (*first, *loops, *inner[:-1], *last):
            if node.shape[axis] == output[step] and axis not in taken:
                found.append((axis, step))
                break
    return found
