"""Lengths of paths: the longest path of nodes, and distances to the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._jaxpr import Atom, Body, Literal, Op
from ._dataflow import ACTIVITY, DATA, Flow
from ._primitives import is_elementwise
from ._varying_axes import dot_axes


class Count(NamedTuple):
    """The number of nodes before a value: one number, or one per step of a loop.

    `axis` is the axis of the value along which a loop stacked its steps.
    """

    nodes: np.ndarray
    axis: int | None = None

    @property
    def most(self) -> Count:
        """The maximum over all steps."""
        return Count(np.max(self.nodes))


ZERO = Count(np.zeros((), int))


def longest_path(flow: Flow, nodes: set[int]) -> int:
    """The largest number of nodes on any path from the inputs to the loss.

    A node inside a loop counts once per step. Stacked outputs of a loop have one count
    per step as long as the axis of steps can be followed; an operation that may mix
    steps takes the maximum, so the result is never too small.
    """
    counter = _Counter(flow, nodes)
    counter.body(flow.program.body)
    return int(counter.read(flow.program.body.outputs[0]).most.nodes)


class _Counter:
    def __init__(self, flow: Flow, nodes: set[int]) -> None:
        self.flow, self.nodes = flow, nodes
        self.count: dict[int, Count] = {}

    def read(self, atom: Atom) -> Count:
        return ZERO if isinstance(atom, Literal) else self.count.get(atom, ZERO)

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
                    counted = out.nodes + (number in self.nodes)
                    self.count[number] = Count(counted, out.axis)

    def plain(self, op: Op) -> Count:
        return _most([self.moved(op, i) for i in range(len(op.inputs))])

    def moved(self, op: Op, operand: int) -> Count:
        """The count of an operand, with its axis of steps followed to the result."""
        count = self.read(op.inputs[operand])
        if count.axis is None:
            return count
        axis = _follow(self.flow, op, operand, count.axis)
        return count.most if axis is None else Count(count.nodes, axis)

    def branches(self, op: Op) -> list[Count]:
        for body in op.bodies:
            self.bind(op.operands, body.inputs)
            self.body(body)
        columns = zip(*(body.outputs for body in op.bodies), strict=True)
        return [_most([self.read(a) for a in column]) for column in columns]

    def bind(self, atoms: Sequence[Atom], numbers: Sequence[int]) -> None:
        for atom, number in zip(atoms, numbers, strict=True):
            self.count[number] = self.read(atom)

    def scan(self, op: Op) -> list[Count]:
        (body,), loop = op.bodies, op.loop
        assert loop is not None
        first = loop.consts + loop.carry
        self.bind(op.inputs[: loop.consts], body.inputs[: loop.consts])
        carry = [self.read(a).most for a in op.inputs[loop.consts : first]]
        stacked = np.zeros((loop.length, len(op.outputs) - loop.carry), int)
        for step in range(loop.length):
            at = loop.length - 1 - step if loop.reverse else step
            self.count.update(zip(body.inputs[loop.consts : first], carry, strict=True))
            for atom, number in zip(
                op.inputs[first:], body.inputs[first:], strict=True
            ):
                self.count[number] = _at(self.read(atom), at)
            self.body(body)
            outs = [self.read(a).most for a in body.outputs]
            carry = outs[: loop.carry]
            stacked[at] = [int(o.nodes) for o in outs[loop.carry :]]
        return [*carry, *(Count(column, 0) for column in stacked.T)]


def _at(count: Count, step: int) -> Count:
    """The count of one slice along the first axis."""
    return Count(count.nodes[step]) if count.axis == 0 else count.most


def _most(counts: Sequence[Count]) -> Count:
    """The largest count; per step if all counts with steps have the same axis."""
    stacks = {(c.axis, c.nodes.shape) for c in counts if c.axis is not None}
    if len(stacks) != 1:
        counts = [c.most for c in counts]
    most = ZERO.nodes
    for count in counts:
        most = np.maximum(most, count.nodes)
    return Count(most, next(iter(stacks))[0] if len(stacks) == 1 else None)


def _follow(flow: Flow, op: Op, operand: int, axis: int) -> int | None:
    """The axis of the result for an axis of an operand; None if entries may mix."""
    before, after = flow.shape(op.inputs[operand]), flow.shape(op.outputs[0])
    if op.name == "transpose":
        return list(op.params["permutation"]).index(axis)
    if op.name == "broadcast_in_dim":
        target = op.params["broadcast_dimensions"][axis]
        return target if before[axis] == after[target] else None
    if op.name in ("reshape", "squeeze"):
        return _reshaped(before, after, axis)
    if op.name == "dot_general":
        ranks = [len(flow.shape(a)) for a in op.inputs]
        return dict(dot_axes(op, operand, ranks)).get(axis)
    if op.name.startswith("reduce_") and "axes" in op.params:
        summed = op.params["axes"]
        return None if axis in summed else axis - sum(a < axis for a in summed)
    kept = len(before) == len(after) and before[axis] == after[axis]
    if op.name in ("slice", "pad", "split"):
        return axis if kept else None
    if op.name == "concatenate":
        return axis if op.params["dimension"] != axis else None
    return axis if kept and is_elementwise(op) else None


def _reshaped(before: Sequence[int], after: Sequence[int], axis: int) -> int | None:
    for target, size in enumerate(after):
        if size == before[axis] and math.prod(before[:axis]) == math.prod(
            after[:target]
        ):
            return target
    return None


# ---- Distances: the steps that a signal from the loss needs to reach each node.


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
    """A backward walk from the loss, body by body, and step by step in loops."""

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
