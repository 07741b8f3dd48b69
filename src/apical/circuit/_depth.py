"""The longest path of nodes: how many steps a signal needs to cross a circuit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._dataflow import ACTIVITY, Flow
from ._jaxpr import Atom, Body, Literal, Op
from ._primitives import is_elementwise


def longest_path(flow: Flow, nodes: set[int]) -> int:
    """The largest number of nodes on any path from the inputs to the loss.

    A node inside a loop counts once per step. What a loop stacks keeps one count per
    step while it is only acted on entry by entry; any other operation may mix steps,
    and takes the largest.
    """
    counter = _Counter(flow, nodes)
    counter.body(flow.program.body)
    (loss, *_) = flow.program.body.outputs
    return int(np.max(counter.read(loss)))


class _Counter:
    def __init__(self, flow: Flow, nodes: set[int]) -> None:
        self.flow, self.nodes = flow, nodes
        self.count: dict[int, Any] = {}

    def read(self, atom: Atom) -> Any:
        return 0 if isinstance(atom, Literal) else self.count.get(atom, 0)

    def body(self, body: Body) -> None:
        for op in body.ops:
            if op.name == "scan":
                outs = self.scan(op)
            elif op.enterable:
                outs = self.branches(op)
            else:
                outs = [self.plain(op)] * len(op.outputs)
            for number, out in zip(op.outputs, outs, strict=True):
                if self.flow.kind[number] == ACTIVITY:  # others carry no signal
                    self.count[number] = out + (number in self.nodes)

    def plain(self, op: Op) -> Any:
        counts = [self.read(a) for a in op.inputs]
        if not is_elementwise(op):
            counts = [np.max(c) for c in counts]
        return _most(counts)

    def branches(self, op: Op) -> list[Any]:
        operands = op.inputs[1:] if op.name == "cond" else op.inputs
        for body in op.bodies:
            self.bind(operands, body.inputs)
            self.body(body)
        every = [[self.read(b.outputs[i]) for b in op.bodies] for i, _ in enumerate(op.outputs)]
        return [_most(counts) for counts in every]

    def bind(self, atoms: Sequence[Atom], numbers: Sequence[int]) -> None:
        for atom, number in zip(atoms, numbers, strict=True):
            self.count[number] = self.read(atom)

    def scan(self, op: Op) -> list[Any]:
        (body,), loop = op.bodies, op.loop
        assert loop is not None
        first = loop.consts + loop.carry
        self.bind([*op.inputs[: loop.consts]], body.inputs[: loop.consts])
        carry = [np.max(self.read(a)) for a in op.inputs[loop.consts : first]]
        stacked = []
        for step in range(loop.length):
            self.count.update(zip(body.inputs[loop.consts : first], carry, strict=True))
            at = loop.length - 1 - step if loop.reverse else step
            for atom, number in zip(op.inputs[first:], body.inputs[first:], strict=True):
                self.count[number] = _at(self.read(atom), at)
            self.body(body)
            outs = [np.max(self.read(a)) for a in body.outputs]
            carry = outs[: loop.carry]
            stacked.append(outs[loop.carry :])
        columns = [np.array(column) for column in zip(*stacked, strict=True)]
        return [*carry, *(c[::-1] if loop.reverse else c for c in columns)]


def _at(count: Any, step: int) -> Any:
    return count[step] if np.ndim(count) else count


def _most(counts: Sequence[Any]) -> Any:
    """The largest count, per step where the stacks agree."""
    sizes = {np.shape(c) for c in counts if np.ndim(c)}
    if len(sizes) > 1:
        counts = [np.max(c) for c in counts]
    most: Any = 0
    for count in counts:
        most = np.maximum(most, count)
    return most
