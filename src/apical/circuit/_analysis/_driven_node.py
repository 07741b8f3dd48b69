"""The node that a synapse drives, and the way from the synapse's output to it.

A synapse drives the node that its output reaches within the time step. On the way there
are operations that keep entries apart: elementwise ones (a membrane potential, a
threshold, a reset) and those that only rearrange. So each entry of the output belongs
to one entry of the node, and what the node did can be carried back to the output:

    output --reshape, transpose, loop over time, elementwise--> node

Where entries are joined (a sum, a pooling), the way ends, and its line is kept for the
message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .._jaxpr import Literal, Op
from ._dataflow import Flow
from ._primitives import is_elementwise

# The same entries in the same order, in another shape.
_RESHAPES = frozenset({"reshape", "squeeze", "expand_dims", "broadcast_in_dim"})
_SAME = frozenset(
    {"convert_element_type", "copy", "copy_p", "name", "reduce_precision"}
    | {"sharding_constraint", "stop_gradient"}
)


class Move(NamedTuple):
    """One rearrangement on the way: `"reshape"`, `"transpose"` or `"loop"`.

    Attributes:
      kind: what is done to the value before it.
      shape: of the value before it.
      permutation: of a transpose; empty for others.
    """

    kind: str
    shape: tuple[int, ...]
    permutation: tuple[int, ...] = ()


Way = tuple[Move, ...]


@dataclass(frozen=True)
class Driven:
    """Where a synapse's output leads.

    Attributes:
      ways: for each node that is reached, the ways to it (more than one where they
        rearrange differently).
      ended: the first operations at which entries were joined.
    """

    ways: Mapping[int, frozenset[Way]]
    ended: tuple[Op, ...]


def driven(flow: Flow, output: int, nodes: Mapping[int, str]) -> Driven:
    """The nodes that a synapse's output reaches, within the step if there are any.

    Where none is, those that it reaches through the carry of a loop: in a cell whose
    spike is computed before its input is added.

    Args:
      flow: the program.
      output: the variable of the synapse's output.
      nodes: the name of each node, by variable.
    """
    within = _walk(flow, output, nodes, later=False)
    return within if within.ways else _walk(flow, output, nodes, later=True)


def _walk(flow: Flow, output: int, nodes: Mapping[int, str], later: bool) -> Driven:
    found: dict[int, set[Way]] = {}
    ended: dict[int, Op] = {}
    seen: set[tuple[int, Way]] = set()
    visited: set[int] = set()
    queue: deque[tuple[int, Way]] = deque([(output, ())])
    while queue:
        number, way = queue.popleft()
        if (number, way) in seen:
            continue
        seen.add((number, way))
        visited.add(number)
        if number in nodes:
            found.setdefault(number, set()).add(way)
            continue
        for op in flow.readers.get(number, ()):
            steps = _through(flow, op, number)
            if steps is None:
                ended[id(op)] = op
            else:
                queue.extend((n, way if m is None else (*way, m)) for n, m in steps)
        after = _out_of_bodies(flow, number, later)
        # A carry is followed once, however its entries move from step to step.
        queue.extend((n, way) for n in after if n not in visited)
    ways = {n: frozenset(each) for n, each in found.items()}
    return Driven(ways, tuple(ended.values()))


def _through(flow: Flow, op: Op, number: int) -> list[tuple[int, Move | None]] | None:
    """The values after one operation; None where entries are joined."""
    shape = flow.shape(number)
    if op.enterable:
        return _into_bodies(op, number, shape)
    outs = [n for n in op.outputs if flow.is_activity(n)]
    if op.name == "transpose":
        return [
            (n, Move("transpose", shape, tuple(op.params["permutation"]))) for n in outs
        ]
    if op.name in _RESHAPES:
        whole = all(_size(flow.shape(n)) == _size(shape) for n in outs)
        return [(n, Move("reshape", shape)) for n in outs] if whole else None
    if op.name in _SAME or is_elementwise(op):
        kept: list[tuple[int, Move | None]]
        kept = [(n, None) for n in outs if flow.shape(n) == shape]
        return kept if len(kept) == len(outs) else None
    return None if outs else []


def _into_bodies(
    op: Op, number: int, shape: tuple[int, ...]
) -> list[tuple[int, Move | None]] | None:
    if op.name == "cond":
        return None
    (body,) = op.bodies
    found: list[tuple[int, Move | None]] = []
    for i, atom in enumerate(op.inputs):
        if isinstance(atom, Literal) or atom != number:
            continue
        if op.loop is None:
            found.append((body.inputs[i], None))
        elif i >= op.loop.consts + op.loop.carry:
            found.append((body.inputs[i], Move("loop", shape)))
        elif i < op.loop.consts:  # the same at every step: it has no time
            return None
    return found


def _out_of_bodies(flow: Flow, number: int, later: bool) -> list[int]:
    """The values after a value leaves a checkpoint, or a step of a loop."""
    found = []
    for op, body in flow.bodies:
        for i, atom in enumerate(body.outputs):
            if isinstance(atom, Literal) or atom != number:
                continue
            if op.name == "remat":
                found.append(op.outputs[i])
            elif later and op.loop is not None and i < op.loop.carry:
                found.append(body.inputs[op.loop.consts + i])
    return found


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size
