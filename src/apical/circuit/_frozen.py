"""Arrays that act as weights and are not learned: no rule has feedback for them.

A network that is handed in frozen, with `batch=None`, or closed over, is data to the
circuit. Where an activity meets it in a matrix product or a convolution, the signal
passes back through its true transpose, under every rule. An adjacency matrix is met in
the same way, so that only the caller can tell the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from ._dataflow import ACTIVITY, CONSTANT, DATA, Flow
from ._graph import walk
from ._jaxpr import Atom, Literal
from ._primitives import SYNAPTIC

_PAIRS = ([DATA, ACTIVITY], [CONSTANT, ACTIVITY])


class Frozen(NamedTuple):
    """An array that all examples share, and the operation where it is a weight."""

    array: str
    operation: str
    where: str

    def __str__(self) -> str:
        return f"{self.array} in `{self.operation}` at {self.where}"


def frozen(flow: Flow, paths: Sequence[str], alive: set[int]) -> tuple[Frozen, ...]:
    """Each array, the same for all examples, that an activity meets as a weight.

    Args:
      flow: of the loss function.
      paths: of the arrays among the arguments, in the order of the program's inputs.
      alive: the variables from which the loss is reached.
    """
    program = flow.program
    names = dict.fromkeys(program.constants, "what the loss function closes over")
    given = program.body.inputs[len(program.body.inputs) - len(paths) :]
    names |= dict(zip(given, map(_told, paths), strict=True))
    found: dict[Frozen, None] = {}
    for site in walk(flow.program.body):
        op, pair = site.op, site.op.inputs[:2]
        kinds = sorted(map(flow.kind_of, pair))
        if op.name not in SYNAPTIC or kinds not in _PAIRS:
            continue
        (weight,) = (a for a in pair if flow.kind_of(a) != ACTIVITY)
        if flow.varies(weight) or not alive.intersection(op.outputs):
            continue
        for number in _sources(flow, weight):
            if number in names and _is_real(flow, number):
                found[Frozen(names[number], op.name, op.where)] = None
    return tuple(found)


def passed_as_they_are(
    flow: Flow, synapses: set[int], alive: set[int], kinds: Sequence[list[int]]
) -> tuple[str, ...]:
    """The linear operations, no synapses, of two operands of one of these kinds."""
    return tuple(
        f"`{op.name}` at {op.where}"
        for op in (site.op for site in walk(flow.program.body))
        if op.name in SYNAPTIC
        and id(op) not in synapses
        and alive.intersection(op.outputs)
        and sorted(map(flow.kind_of, op.inputs[:2])) in kinds
    )


def _sources(flow: Flow, atom: Atom) -> list[int]:
    """The inputs of the program that a value is made of."""
    found, seen, stack = list[int](), set[Atom](), [atom]
    while stack:
        atom = stack.pop()
        if isinstance(atom, Literal) or atom in seen:
            continue
        seen.add(atom)
        if atom in flow.entry:
            op, _, i = flow.entry[atom]
            stack.append(op.operands[i])
        elif atom in flow.maker:
            stack += flow.maker[atom][0].inputs
        else:
            found.append(atom)
    return found


def _is_real(flow: Flow, number: int) -> bool:
    return jnp.issubdtype(flow.program.shapes[number].dtype, jnp.inexact)


def _told(path: str) -> str:
    """`1.w` as a caller knows it."""
    position, _, rest = path.partition(".")
    return f"argument {position}" + (f" ({rest!r})" if rest else "")
