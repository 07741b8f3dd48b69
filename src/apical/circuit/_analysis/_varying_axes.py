"""Varying axes of values: axes along which entries may differ rather than repeat.

They are found from shapes, in one walk over the program. After an unknown operation
every axis varies, so "repeats along this axis" is never wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import jax.numpy as jnp

from .._jaxpr import Atom, Body, Literal, Op, Program
from ._primitives import is_elementwise

Axes = frozenset[int]
_SAME_AXES = frozenset(
    {"convert_element_type", "slice", "pad", "rev", "copy", "copy_p", "name"}
    | {"reduce_precision", "cumsum", "split", "stop_gradient", "concatenate"}
)


class VaryingAxes:
    """The axes of each value of a program along which its entries may differ."""

    def __init__(self, program: Program) -> None:
        self._shapes = program.shapes
        self._axes: dict[int, Axes] = {}
        for number in (*program.constants, *program.body.inputs):
            self._axes[number] = _long(self._shapes[number].shape)
        self._body(program.body)

    def of(self, atom: Atom) -> Axes:
        """The axes along which the entries of a value may differ."""
        if isinstance(atom, Literal):
            return _long(jnp.shape(atom.value))
        return self._axes[atom]

    def fan_out(self, op: Op, weight: int) -> bool:
        """Whether a product multiplies an entry by several entries of the weight."""
        own, other = self.of(op.inputs[weight]), self.of(op.inputs[1 - weight])
        if op.name == "dot_general":
            shared = op.params["dimension_numbers"][1]
            pairs = zip(shared[weight], shared[1 - weight], strict=True)
            free = own - set(shared[weight])
            return bool(free) or any(a in own and b not in other for a, b in pairs)
        return bool(own - other)

    def _shape(self, atom: Atom) -> tuple[int, ...]:
        return jnp.shape(atom.value) if isinstance(atom, Literal) else self._at(atom)

    def _at(self, number: int) -> tuple[int, ...]:
        return self._shapes[number].shape

    def _body(self, body: Body) -> None:
        for op in body.ops:
            if op.name == "scan":
                self._scan(op)
            elif op.enterable:
                self._branches(op)
            else:
                for number in op.outputs:
                    self._axes[number] = self._plain(op, number) & _long(
                        self._at(number)
                    )

    def _branches(self, op: Op) -> None:
        for body in op.bodies:
            self._axes.update(zip(body.inputs, map(self.of, op.operands), strict=True))
            self._body(body)
        for i, number in enumerate(op.outputs):
            self._axes[number] = _union(self.of(b.outputs[i]) for b in op.bodies)

    def _scan(self, op: Op) -> None:
        (body,), loop = op.bodies, op.loop
        assert loop is not None
        first = loop.consts + loop.carry
        given = [self.of(a) for a in op.inputs]
        slices = [frozenset(a - 1 for a in axes if a) for axes in given[first:]]
        carry = given[loop.consts : first]
        while True:  # axes are only added, so this ends
            now = [*given[: loop.consts], *carry, *slices]
            self._axes.update(zip(body.inputs, now, strict=True))
            self._body(body)
            outs = [self.of(a) for a in body.outputs]
            joined = [a | b for a, b in zip(carry, outs, strict=False)]
            if joined == carry:
                break
            carry = joined
        stacked = [frozenset({0, *(a + 1 for a in out)}) for out in outs[loop.carry :]]
        for number, axes in zip(op.outputs, [*carry, *stacked], strict=True):
            self._axes[number] = axes & _long(self._at(number))

    def _plain(self, op: Op, out: int) -> Axes:
        if op.name == "iota":
            return frozenset({op.params["dimension"]})
        if op.name == "dot_general":
            ranks = [len(self._shape(a)) for a in op.inputs]
            return _union(
                frozenset(to for axis, to in dot_axes(op, i, ranks) if axis in axes)
                for i, axes in enumerate(map(self.of, op.inputs))
            )
        moved = [self._moved(op, i, out) for i in range(len(op.inputs))]
        if all(axes is not None for axes in moved):
            return _union(axes for axes in moved if axes is not None)
        return _long(self._at(out))

    def _moved(self, op: Op, i: int, out: int) -> Axes | None:
        """The axes of the result for the varying axes of an operand; None: unknown."""
        axes, params = self.of(op.inputs[i]), op.params
        if op.name == "broadcast_in_dim":
            to = params["broadcast_dimensions"]
            return frozenset(to[a] for a in axes) if i == 0 else frozenset()
        if op.name == "transpose":
            return frozenset(list(params["permutation"]).index(a) for a in axes)
        if op.name in ("reshape", "squeeze", "expand_dims"):
            groups = reshape_groups(self._shape(op.inputs[i]), self._at(out))
            return _union(frozenset(new) for old, new in groups if axes & set(old))
        if op.name == "concatenate":
            return axes | {params["dimension"]}
        if op.name == "pad":
            config = enumerate(params["padding_config"])
            padded = frozenset(
                a for a, (low, high, mid) in config if low or high or mid
            )
            return axes | padded if i == 0 else frozenset()
        if "axes" in params and op.name.startswith(("reduce_", "arg")):
            gone = set(params["axes"])
            return frozenset(a - sum(g < a for g in gone) for a in axes - gone)
        return axes if op.name in _SAME_AXES or is_elementwise(op) else None


def dot_axes(op: Op, i: int, ranks: Sequence[int]) -> list[tuple[int, int]]:
    """The axes of an operand that a `dot_general` keeps, with those of the result."""
    contracted, shared = op.params["dimension_numbers"]
    free = [
        [a for a in range(rank) if a not in contracted[j] and a not in shared[j]]
        for j, rank in enumerate(ranks)
    ]
    start = len(shared[0]) + (len(free[0]) if i else 0)
    return [
        *((axis, to) for to, axis in enumerate(shared[i])),
        *((axis, start + to) for to, axis in enumerate(free[i])),
    ]


def reshape_groups(
    before: Sequence[int], after: Sequence[int]
) -> Iterator[tuple[list[int], list[int]]]:
    """The axes of two shapes, in groups with the same number of entries."""
    old, new = ([a for a, n in enumerate(s) if n > 1] for s in (before, after))
    if 0 in before:  # no entry that could differ
        return
    while old and new:
        left, right = [old.pop(0)], [new.pop(0)]
        while True:
            sizes = (
                math.prod(before[a] for a in left),
                math.prod(after[a] for a in right),
            )
            if sizes[0] == sizes[1]:
                break
            if sizes[0] < sizes[1]:
                left.append(old.pop(0))
            else:
                right.append(new.pop(0))
        yield left, right


def _long(shape: Sequence[int]) -> Axes:
    return frozenset(i for i, n in enumerate(shape) if n > 1)


def _union(axes: Iterator[Axes]) -> Axes:
    return frozenset[int]().union(*axes)
