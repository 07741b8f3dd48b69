"""How far each node is from the loss: in how many steps a signal can come to it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ._dataflow import DATA, Flow
from ._jaxpr import Atom, Body, Literal, Op


def distances(flow: Flow, nodes: set[int]) -> dict[int, int]:
    """The fewest nodes on a path from each node to the loss, itself included.

    A node inside a loop counts once per step, and has the distance of the step that is
    farthest from the loss.
    """
    walk = _Walk(flow, nodes)
    outputs = flow.program.body.outputs
    walk.body(flow.program.body, [0, *[math.inf] * (len(outputs) - 1)])
    return walk.farthest


class _Walk:
    """From the loss back, body by body; a loop step by step."""

    def __init__(self, flow: Flow, nodes: set[int]) -> None:
        self.flow, self.nodes = flow, nodes
        self.to_loss: dict[int, float] = {}
        self.farthest: dict[int, int] = {}

    def read(self, number: int) -> float:
        return self.to_loss.get(number, math.inf)

    def join(self, atom: Atom, distance: float) -> None:
        if not isinstance(atom, Literal):
            self.to_loss[atom] = min(self.read(atom), distance)

    def body(self, body: Body, after: Sequence[float]) -> list[float]:
        """The distances of the body's inputs, given those of its outputs."""
        made = [number for op in body.ops for number in op.outputs]
        self.to_loss.update(dict.fromkeys([*body.inputs, *made], math.inf))
        for atom, distance in zip(body.outputs, after, strict=True):
            self.join(atom, distance)
        for op in reversed(body.ops):
            for number in op.outputs:
                self.visit(number)
            self.op(op, [self.read(number) for number in op.outputs])
        return [self.read(number) for number in body.inputs]

    def visit(self, number: int) -> None:
        if self.flow.kind[number] == DATA:  # it carries no derivative
            self.to_loss[number] = math.inf
        found = self.read(number)
        if number in self.nodes and found < math.inf:
            self.to_loss[number] = found + 1
            self.farthest[number] = max(self.farthest.get(number, 0), int(found) + 1)

    def op(self, op: Op, after: Sequence[float]) -> None:
        if op.name == "scan":
            self.scan(op, after)
        elif op.enterable:
            for body in op.bodies:
                for atom, found in zip(
                    op.operands, self.body(body, after), strict=True
                ):
                    self.join(atom, found)
        else:
            for atom in op.inputs:
                self.join(atom, min(after, default=math.inf))

    def scan(self, op: Op, after: Sequence[float]) -> None:
        (body,), loop = op.bodies, op.loop
        assert loop is not None
        first = loop.consts + loop.carry
        carry, stacked = list(after[: loop.carry]), after[loop.carry :]
        for _ in range(loop.length):
            found = self.body(body, [*carry, *stacked])
            carry = found[loop.consts : first]
            for i, atom in enumerate(op.inputs):
                if not loop.consts <= i < first:
                    self.join(atom, found[i])
        for atom, distance in zip(op.inputs[loop.consts : first], carry, strict=True):
            self.join(atom, distance)
