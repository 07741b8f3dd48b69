"""What nodes are made of: the nodes and synapses on the way back from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ._dataflow import Flow
from ._graph import bound
from ._jaxpr import Atom, Literal


class MadeOf(NamedTuple):
    """What a node, or the loss, is made of with no other node or synapse between.

    Attributes:
      nodes: the names of the nodes.
      synapses: the positions of the synapses among `circuit.synapses`.
    """

    nodes: tuple[str, ...]
    synapses: tuple[int, ...]


def made_of(
    flow: Flow, start: Atom, nodes: Mapping[int, str], synapses: Mapping[int, int]
) -> MadeOf:
    """Walk back from a value to nodes, by variable, and outputs of synapses."""
    found_nodes: set[str] = set()
    found: set[int] = set()
    seen: set[Atom] = set()
    stack = _before(flow, start) if start in nodes else [start]
    while stack:
        atom = stack.pop()
        if isinstance(atom, Literal) or atom in seen or not flow.is_activity(atom):
            continue
        seen.add(atom)
        if atom in nodes:
            found_nodes.add(nodes[atom])
        elif atom in synapses:
            found.add(synapses[atom])
        else:
            stack += _before(flow, atom)
    return MadeOf(tuple(sorted(found_nodes)), tuple(sorted(found)))


def _before(flow: Flow, number: Atom) -> list[Atom]:
    """The values that a value is computed from."""
    assert not isinstance(number, Literal)
    if number in flow.entry:
        return bound(*flow.entry[number])
    op, i = flow.maker[number]
    if op.enterable:
        return [body.outputs[i] for body in op.bodies]
    return list(op.inputs)
