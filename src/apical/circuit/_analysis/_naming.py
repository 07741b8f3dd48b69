"""Names of nodes and layers, from the paths of their parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .._jaxpr import Literal
from .._marks import DRIVE, OUTPUT
from .._partition import unlike
from ._dataflow import PARAMETER, Flow
from ._nodes import LOSS_NUMBER, Reach
from ._synapses import WeightedOp


def node_names(
    flow: Flow,
    nodes: Sequence[int],
    paths: Sequence[Sequence[str]],
    found: Sequence[WeightedOp],
    given: Mapping[int, str],
) -> dict[int, str]:
    """A name for each node, in order, from the paths of its parameters.

    All differ from each other, from the output's name and from those of drives.
    User-given names are kept.
    """
    weights = {id(m.op): m.leaves for m in found}
    chosen = {number: given[number] for number in nodes if given.get(number)}
    taken = {OUTPUT}
    for name in chosen.values():
        if name in taken:
            raise ValueError(
                f"Two activities are marked {name!r}; give each `apical.node` a name "
                "of its own."
            )
        taken.add(name)
    for number in (n for n in nodes if n not in chosen):
        name = _name(flow, number, set(nodes), paths, weights, chosen)
        chosen[number] = unlike(name, lambda n: n in taken or n.endswith(DRIVE))
        taken.add(chosen[number])
    return {number: chosen[number] for number in nodes}


def _name(
    flow: Flow,
    number: int,
    nodes: set[int],
    paths: Sequence[Sequence[str]],
    weights: Mapping[int, frozenset[int]],
    chosen: Mapping[int, str],
) -> str:
    through, others, parents = makers(flow, number, nodes, weights)
    for leaves in (through, others):
        if leaves:
            return common_path([paths[i] for i in sorted(leaves)])
    named = sorted(chosen[p] for p in parents if p in chosen)
    operation = flow.maker[number][0].name
    return f"{named[0]}/{operation}" if named else operation


def makers(
    flow: Flow, number: int, nodes: set[int], weights: Mapping[int, frozenset[int]]
) -> tuple[set[int], set[int], set[int]]:
    """The leaves of synapses, the other leaves and the nodes that a node depends on."""
    through, others, parents = set[int](), set[int](), set[int]()
    stack, seen = [number], set[int]()
    while stack:
        at = stack.pop()
        if at in seen:
            continue
        seen.add(at)
        if at in nodes and at != number:
            parents.add(at)
            continue
        if flow.kind[at] == PARAMETER:
            others |= flow.raw[at]
            continue
        if at in flow.maker:
            through |= weights.get(id(flow.maker[at][0]), frozenset())
        stack += [a for a in flow.computed_from(at) if not isinstance(a, Literal)]
    return through, others - through, parents


def common_path(paths: Sequence[Sequence[str]]) -> str:
    """The longest common path of parameter leaves, without the leaf's own name.

    A key that is itself a path, as in a flat dictionary, is split into its parts.
    """
    parts = [".".join(path or ("params",)).split(".") for path in paths]
    if len(parts) > 1 or len(parts[0]) > 1:
        parts = [p[:-1] or p for p in parts]
    shared = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    rest = "+".join(dict.fromkeys(p[0] for p in parts))
    return ".".join(shared) or rest or "+".join(map(".".join, paths))


# ---- Layers: the parameters of the same nodes.
# Nodes here are the activities that enter a synapse, and those where paths to such
# nodes branch, regardless of `nodes=` and of marks.
#
# | a parameter reaches | its layer is | its gradient comes from            |
# |---------------------|--------------|------------------------------------|
# | a node              | hidden       | the teaching signal at that node   |
# | the loss alone      | a read-out   | the loss itself                    |


class Layer(NamedTuple):
    """The learned leaves of the same nodes.

    Attributes:
      name: the common path of the leaves.
      leaves: their positions among `circuit.leaves.names`.
      hidden: whether their teaching signal passes a node.
    """

    name: str
    leaves: tuple[int, ...]
    hidden: bool


def find_layers(
    reached: Sequence[Reach], keys: Sequence[Sequence[str]], order: Mapping[int, int]
) -> tuple[Layer, ...]:
    """The layers, in the order of the forward computation, read-outs last.

    Args:
      reached: the nodes that each learned leaf reaches; a leaf that reaches nothing has
        no layer.
      keys: the keys of the path of each leaf.
      order: the position of each variable in the program.
    """
    groups: dict[frozenset[int], list[int]] = {}
    for leaf, reach in enumerate(reached):
        if reach:
            groups.setdefault(frozenset(n for n, _ in reach), []).append(leaf)

    def place(ends: frozenset[int]) -> tuple[bool, list[int]]:
        return ends == {LOSS_NUMBER}, sorted(order[n] for n in ends if n != LOSS_NUMBER)

    found: dict[str, Layer] = {}
    for ends in sorted(groups, key=place):
        path = common_path([keys[i] for i in groups[ends]])
        name = unlike(path, found.__contains__)
        found[name] = Layer(name, tuple(groups[ends]), ends != {LOSS_NUMBER})
    return tuple(found.values())
