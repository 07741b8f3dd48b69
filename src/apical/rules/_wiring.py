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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..circuit import Circuit, Node

OUTPUT = "output"


class Wiring(NamedTuple):
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


def wirings(circuit: Circuit) -> dict[str, Wiring]:
    """A `Wiring` for each node."""
    output = circuit.unfolded(OUTPUT, circuit.output_shape.shape)
    return {n.name: _wiring(circuit, n, output) for n in circuit.nodes}


def _wiring(circuit: Circuit, node: Node, output: tuple[int, ...]) -> Wiring:
    mine, theirs = (circuit.example_axes[site] for site in (node.name, OUTPUT))
    if (mine is None) != (theirs is None):
        which = f"Node {node.name!r}" if mine is None else "The output"
        raise ValueError(
            f"{which} has no axis of examples: it is the same for all of them, so no "
            "example's error belongs to it. Leave it out by `nodes='marked'`, or see "
            "that `batch` describes the arguments."
        )
    form = circuit.unfolded(node.name, node.shape)
    inside = len(node.loops)
    examples = [] if mine is None else [(mine, theirs)]
    paired = [*examples, *_steps(form, inside, mine, output, theirs)]
    ours, others = [a for a, _ in paired], [b for _, b in paired]
    loops = [i for i in range(inside) if i not in ours]
    own = [i for i in range(inside, len(form)) if i not in ours]
    rest = [i for i in range(len(output)) if i not in others]
    return Wiring(
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
