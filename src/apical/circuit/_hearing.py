"""Which nodes are made of an argument."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import jax

from ._circuit import Circuit
from ._jaxpr import Body, Literal, Op
from ._leaves import Leaves


def nodes_made_of(circuit: Circuit, positions: Collection[int]) -> tuple[str, ...]:
    """The nodes on which one of these arguments (after the parameters) may have a say.

    A loop, a branch or a function is taken as a whole: what one of its inputs reaches
    may be anything in it.
    """
    body = circuit._flow.program.body
    count = len(circuit.leaves.learned) + len(circuit.leaves.arrays)
    given = zip(body.inputs[count:], _argument_of(circuit._given), strict=True)
    found = {number for number, position in given if position in positions}
    for op in body.ops:
        if any(a in found for a in op.inputs if not isinstance(a, Literal)):
            found |= set(_made_by(op))
    names = circuit._names
    return tuple(names[n] for n in circuit._numbers if n in found)


def _argument_of(given: Leaves) -> list[int]:
    """For each array of the arguments, the position of the argument that it is of."""
    numbered = given.treedef.unflatten(range(len(given.paths)))
    of = {leaf: i for i, arg in enumerate(numbered) for leaf in jax.tree.leaves(arg)}
    return [of[leaf] for leaf in given.arrays]


def _made_by(op: Op) -> Iterator[int]:
    yield from op.outputs
    for body in op.bodies:
        yield from _inside(body)


def _inside(body: Body) -> Iterator[int]:
    for op in body.ops:
        yield from _made_by(op)
