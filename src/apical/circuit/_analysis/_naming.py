"""Where a node's drive is, which activity is the output, and what nodes are called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count

from .._jaxpr import Atom, Literal, Op
from .._marks import DRIVE, OUTPUT
from .._partition import unlike
from ._dataflow import CONSTANT, PARAMETER, Flow
from ._drive import (
    _out_of_body,
)
from ._nodes import LOSS_NUMBER, Reach, bound
from ._primitives import SUMS, is_identity
from ._synapses import WeightedOp


def outputs(
    flow: Flow, found: Iterable[WeightedOp], reach: Mapping[int, Reach]
) -> list[int]:
    """The ends of the affine tails of the synapses that reach the loss alone."""
    ends: dict[int, None] = {}
    for meeting in found:
        number = meeting.op.outputs[0]
        if reach.get(number) == frozenset({(LOSS_NUMBER, False)}):
            ends[_tail(flow, number)] = None
    return list(ends)


def _tail(flow: Flow, number: int) -> int:
    """Follow sums with parameters and other activities, casts and rearrangements."""
    while True:
        following = _out_of_body(flow, number)
        readers = flow.readers.get(number, [])
        if following is not None and not readers:
            number = following
            continue
        if following is not None or len(readers) != 1:
            return number
        if not _is_affine(flow, readers[0]) or flow.shape(readers[0].outputs[0]) == ():
            return number
        number = readers[0].outputs[0]


def _is_affine(flow: Flow, op: Op) -> bool:
    if is_identity(op) or op.name in SUMS:
        return True
    fixed = [flow.kind_of(a) in (CONSTANT, PARAMETER) for a in op.inputs]
    if op.name in ("add", "sub", "add_any"):
        return all(
            f or flow.is_activity(a) for f, a in zip(fixed, op.inputs, strict=True)
        )
    return (op.name == "mul" and any(fixed)) or (op.name == "div" and fixed[1])


def names(
    flow: Flow,
    nodes: Sequence[int],
    paths: Sequence[Sequence[str]],
    found: Sequence[WeightedOp],
    given: Mapping[int, str],
) -> dict[int, str]:
    """A name for each node, from the paths of the parameters that make it.

    No two are alike, none is that of the output or of a drive, and those that the user
    gave stay as they are.
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
    return chosen


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}#{i}" for i in count(2))


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
    """Partition of the synapses, other leaves, and nodes from which a node is made."""
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
        stack += [a for a in _before(flow, at) if not isinstance(a, Literal)]
    return through, others - through, parents


def _before(flow: Flow, number: int) -> Sequence[Atom]:
    if number in flow.entry:
        return bound(*flow.entry[number])
    if number not in flow.maker:  # an argument or a constant
        return ()
    op, i = flow.maker[number]
    return [b.outputs[i] for b in op.bodies] if op.enterable else op.inputs


def common_path(paths: Sequence[Sequence[str]]) -> str:
    """The longest common path of parameter leaves, without the leaf's own name.

    A key that is a path itself, as in a flat dictionary, counts as its parts.
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
