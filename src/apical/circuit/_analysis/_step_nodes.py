"""What enters a synapse in one step of a loop.

The activities are those of `entering`, with two differences. A slice of several
activities that are packed into one carry is the activity that the slice reads, not all
of them. And what is computed from the carry alone (the output of a unit at the step
before) is no node where a node of the step before has that value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._jaxpr import Atom, Body, Literal, Op
from ._dataflow import Flow
from ._graph import bound
from ._nodes import sources
from ._synapses import WeightedOp

_SELECTIONS = frozenset({"slice", "dynamic_slice", "gather", "split", "unstack"})
_UNCHANGED = frozenset({"convert_element_type", "copy", "copy_p", "name"})


def entering_in_step(flow: Flow, found: Sequence[WeightedOp]) -> set[int]:
    """The activities that enter a synapse in one step of a loop."""
    roots = (sources(flow, a, picks=_picked) for m in found for a in m.activities)
    every = set[int]().union(*roots)
    outputs = {n for m in found for n in m.op.outputs}
    for op, body in flow.bodies:
        if op.loop is not None:
            every -= set(_repeated(flow, op, body, every, outputs))
    return every


def _picked(flow: Flow, op: Op, i: int) -> list[Atom] | None:
    """The operands of a concatenation that a selection from it reads."""
    rest = op.inputs[1:]
    if op.name not in _SELECTIONS or not all(isinstance(a, Literal) for a in rest):
        return None
    join, starts = _joined(flow, op.inputs[0])
    if join is None:
        return None
    shapes = [flow.shape(a) for a in join.inputs]
    with jax.ensure_compile_time_eval():
        dtype = flow.program.shapes[join.outputs[0]].dtype
        labels = [jnp.full(s, k, dtype) for k, s in enumerate(shapes)]
        values: list[Any] = [a.value for a in rest if isinstance(a, Literal)]
        read = np.unique(np.asarray(op(join(*labels)[0], *values)[i].real))
    return [*(join.inputs[int(k)] for k in read), *starts]


def _joined(flow: Flow, atom: Atom) -> tuple[Op | None, list[Atom]]:
    """The concatenation that a value is, and the first values of carries on the way."""
    starts: list[Atom] = []
    seen: set[Atom] = set()
    while not isinstance(atom, Literal) and atom not in seen:
        seen.add(atom)
        if atom in flow.entry:
            first, *last = bound(*flow.entry[atom])
            if last:
                starts.append(first)
            atom = last[0] if last else first
        elif atom not in flow.maker:
            break
        else:
            op = flow.maker[atom][0]
            if op.name in ("concatenate", "stack"):
                return op, starts
            if op.name not in _UNCHANGED:
                break
            atom = op.inputs[0]
    return None, []


def _repeated(
    flow: Flow, op: Op, body: Body, nodes: set[int], outputs: set[int]
) -> Iterator[int]:
    """The nodes of a loop whose values are those of nodes of the step before."""
    assert op.loop is not None
    first = op.loop.consts
    pairs = zip(body.inputs[first:], body.outputs[: op.loop.carry], strict=False)
    ends = {n: a for n, a in pairs if not isinstance(a, Literal)}
    here = {n for each in body.ops for n in each.outputs}
    carries: dict[int, set[int]] = {}
    for number in nodes & here:
        reads = _before(flow, number, outputs, body)
        if reads is not None and reads and reads <= ends.keys():
            carries[number] = reads
    fresh = (nodes & here) - carries.keys()
    behind = {n: set(_back(flow, n, outputs)) for n in fresh}
    for number, reads in carries.items():
        if all(any(ends[c] in b for b in behind.values()) for c in reads):
            yield number


def _before(flow: Flow, number: int, outputs: set[int], body: Body) -> set[int] | None:
    """The inputs of a body that an activity is computed from; None past a synapse."""
    found = set[int]()
    for atom in _back(flow, number, set()):
        if atom in outputs:
            return None
        if atom in body.inputs and flow.is_activity(atom):
            found.add(atom)
    return found


def _back(flow: Flow, number: int, ends: Iterable[int]) -> Iterator[int]:
    """What a value is computed from in its body, up to some values."""
    stack, seen, ends = [number], set[int](), set(ends)
    while stack:
        atom = stack.pop()
        if atom in seen:
            continue
        seen.add(atom)
        yield atom
        if atom in flow.maker and atom not in ends:
            stack += [
                a for a in flow.maker[atom][0].inputs if not isinstance(a, Literal)
            ]
