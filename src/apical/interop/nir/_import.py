"""From a graph of NIR to a list of layers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ._layer import Layer
from ._neurons import IF, LI, LIF, CubaLI, CubaLIF, I, Neurons, Threshold
from ._recurrent import Recurrent
from ._structural import AvgPool2d, Delay, Flatten, SumPool2d
from ._weights import Affine, Conv1d, Conv2d, Linear, Scale, Weights

KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(Affine, AvgPool2d, Conv1d, Conv2d, CubaLI, CubaLIF, Delay, Flatten),
        *(I, IF, LI, LIF, Linear, Scale, SumPool2d, Threshold),
    )
}


def from_graph(graph: Any) -> list[Layer]:
    """The layers of a graph that is a chain, with loops of neurons and synapses.

    A subgraph is taken apart. A loop may be written flat or as a subgraph.

    Args:
      graph: a `nir.NIRGraph`.

    Returns:
      The layers, whose arrays are those of the nodes.

    Raises:
      ValueError: naming the node, where the graph branches, joins or has other loops;
        where a node is of a kind unknown here, or hangs on nothing.

    Example:
      >>> from apical.interop import nir
      >>> graph = nir.to_graph([nir.LIF(tau=20e-3)], input_shape=3)
      >>> [type(layer).__name__ for layer in nir.from_graph(graph)]
      ['LIF']
    """
    return _layers(graph, "")


def _layers(graph: Any, path: str) -> list[Layer]:
    nodes, edges = dict(graph.nodes), [(str(a), str(b)) for a, b in graph.edges]
    if len(set(edges)) != len(edges):
        twice = next(edge for edge in edges if edges.count(edge) > 1)
        raise ValueError(
            f"the edge from {path}{twice[0]!r} to {twice[1]!r} is there twice: is the "
            "signal to be doubled? Keep one, and double the weights if so."
        )
    for name in {name for edge in edges for name in edge} - set(nodes):
        raise ValueError(f"an edge names the node {path + name!r}, which is not there.")
    after = {name: [b for a, b in edges if a == name] for name in nodes}
    before = {name: [a for a, b in edges if b == name] for name in nodes}
    start = _terminal(nodes, "Input", path)
    end = _terminal(nodes, "Output", path)
    _refuse_self_edges(edges, path)

    found: list[Layer] = []
    seen, previous = {start}, start
    here = _only(after[start], f"the input {path + start!r}", "goes to", path)
    while here != end:
        if here in seen:
            raise ValueError(
                f"the node {path + here!r} is reached again from {path + previous!r}: "
                "a loop other than neurons and their synapses."
            )
        seen.add(here)
        back = _synapses(here, nodes, after, before)
        follows = [name for name in after[here] if name != back]
        comes = [name for name in before[here] if name not in (back, previous)]
        if comes:
            raise ValueError(
                f"the node {path + here!r} has inputs from {path + previous!r} and "
                f"from {', '.join(repr(path + name) for name in comes)}: only a chain "
                "can be read, with loops of one layer of neurons and its synapses."
            )
        found += _read_node(here, nodes, back, path)
        seen |= {back} if back else set()
        previous = here
        here = _only(follows, f"the node {path + here!r}", "goes to", path)
    lost = sorted(set(nodes) - seen - {end})
    if lost:
        raise ValueError(
            f"nodes that no path from the input reaches: "
            f"{', '.join(repr(path + name) for name in lost)}. Remove or connect them."
        )
    return found


def _terminal(nodes: dict[str, Any], kind: str, path: str) -> str:
    names = [name for name, node in nodes.items() if type(node).__name__ == kind]
    if len(names) != 1:
        where = f"the subgraph {path[:-1]!r}" if path else "the graph"
        raise ValueError(
            f"{where} has {len(names)} nodes of the kind {kind} "
            f"({', '.join(map(repr, names)) or 'none'}); it must have one."
        )
    return names[0]


def _refuse_self_edges(edges: list[tuple[str, str]], path: str) -> None:
    for a, b in edges:
        if a == b:
            raise ValueError(
                f"the node {path + a!r} has an edge to itself: put a Linear node with "
                "the identity as its weight into the loop."
            )


def _only(names: list[str], what: str, verb: str, path: str) -> str:
    if len(names) != 1:
        listed = ", ".join(repr(path + name) for name in names) or "nothing"
        raise ValueError(
            f"{what} {verb} {listed}: only a chain can be read, with loops of one "
            "layer of neurons and its synapses."
        )
    return names[0]


def _synapses(
    here: str,
    nodes: dict[str, Any],
    after: dict[str, list[str]],
    before: dict[str, list[str]],
) -> str | None:
    """The node of weights that only reads from and writes to these neurons."""
    if not issubclass(KINDS.get(type(nodes[here]).__name__, Layer), Neurons):
        return None
    for name in after[here]:
        kind = KINDS.get(type(nodes[name]).__name__, Layer)
        if issubclass(kind, Weights) and after[name] == before[name] == [here]:
            return name
    return None


def _read_node(
    name: str, nodes: dict[str, Any], back: str | None, path: str
) -> list[Layer]:
    if type(nodes[name]).__name__ == "NIRGraph":
        return _layers(nodes[name], f"{path}{name}/")
    made = _layer(nodes[name], path + name)
    if back is None:
        return [made]
    return [Recurrent(made, _layer(nodes[back], path + back))]


def _layer(node: Any, name: str) -> Layer:
    kind = KINDS.get(type(node).__name__)
    if kind is None:
        raise ValueError(
            f"the node {name!r} is a {type(node).__name__}, which is unknown here. "
            f"Known are {', '.join(sorted(KINDS))}, and subgraphs."
        )
    values = {}
    for field in dataclasses.fields(kind):
        value = getattr(node, field.name)
        static = field.metadata.get("static")
        values[field.name] = value if static else np.asarray(value)
    return kind(**values)
