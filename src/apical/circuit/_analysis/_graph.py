"""The graph of a program: the operation that makes each value, and its readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from .._jaxpr import Atom, Body, Literal, Op, Program


@dataclass(frozen=True, eq=False)
class Site:
    """An operation and the lengths of the loops around it, from the outside."""

    op: Op
    loops: tuple[int, ...]


class Graph:
    """The values of a program, by number, and the operations between them.

    Attributes:
      program: the traced function.
      maker: the operation that makes a value, and the position among its outputs.
      entry: for an input of a body: the operation, the body and its position there.
      readers: the operations that read a value.
      order: the position of each made value in program order.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.maker: dict[int, tuple[Op, int]] = {}
        self.entry: dict[int, tuple[Op, Body, int]] = {}
        self.readers: dict[int, list[Op]] = {}
        self._link(program.body)
        self.order = {n: i for i, n in enumerate(self.maker)}

    def _link(self, body: Body) -> None:
        for op in body.ops:
            for i, number in enumerate(op.outputs):
                self.maker[number] = (op, i)
            for atom in {a for a in op.inputs if not isinstance(a, Literal)}:
                self.readers.setdefault(atom, []).append(op)
            for inner in op.bodies:
                for i, number in enumerate(inner.inputs):
                    self.entry[number] = (op, inner, i)
                self._link(inner)

    def shape(self, atom: Atom) -> tuple[int, ...]:
        """The shape of a value inside its own scope."""
        return self.program.shape(atom)

    @cached_property
    def bodies(self) -> list[tuple[Op, Body]]:
        """Every body that can be entered, with the operation that it belongs to."""
        ops = (site.op for site in walk(self.program.body))
        return [(op, body) for op in ops if op.enterable for body in op.bodies]

    @cached_property
    def reverses(self) -> bool:
        """Whether some operation reverses an axis."""
        return any(site.op.name == "rev" for site in walk(self.program.body))

    @cached_property
    def live(self) -> frozenset[int]:
        """The values from which a derivative leads to the loss."""
        found, stack = set[int](), [self.program.body.outputs[0]]
        while stack:
            atom = stack.pop()
            if not isinstance(atom, Literal) and atom not in found:
                found.add(atom)
                stack += self.before(atom)
        return frozenset(found)

    def before(self, number: int) -> Sequence[Atom]:
        """The values through which a value is differentiated; none at a stop."""
        stopped = self.maker.get(number)
        if stopped is not None and stopped[0].name == "stop_gradient":
            return []
        return self.computed_from(number)

    def computed_from(self, number: int) -> Sequence[Atom]:
        """The values that a value is computed from, with or without a derivative."""
        if number in self.entry:
            return bound(*self.entry[number])
        if number not in self.maker:  # an argument or a constant
            return []
        op, i = self.maker[number]
        return [b.outputs[i] for b in op.bodies] if op.enterable else op.inputs

    def after(self, number: int) -> list[int]:
        """The values that are computed from a value, also into and out of bodies."""
        found = list(self._leaving.get(number, []))
        for op in self.readers.get(number, []):
            if not op.enterable:
                found += op.outputs
                continue
            for body in op.bodies:
                pairs = zip(op.operands, body.inputs, strict=True)
                found += [n for atom, n in pairs if atom == number]
        return found

    def leaves_body(self, number: int) -> bool:
        """Whether a value is returned by a body."""
        return number in self._leaving

    def outside(self, number: int) -> list[int]:
        """The variables of a value outside of its body, if the loss depends on them."""
        found = self._leaving.get(number, ())
        return [n for n in found if n in self.live and n not in self.entry]

    @cached_property
    def _leaving(self) -> dict[int, list[int]]:
        """The variables of values that leave a body: outside, and at the next step."""
        found: dict[int, list[int]] = {}
        for op, body in self.bodies:
            for i, atom in enumerate(body.outputs):
                if isinstance(atom, Literal):
                    continue
                carried = op.loop is not None and i < op.loop.carry
                again = [body.inputs[op.loop.consts + i]] if carried and op.loop else []
                found.setdefault(atom, []).extend([op.outputs[i], *again])
        return found


def bound(op: Op, body: Body, i: int) -> list[Atom]:
    """The values bound to an input of a body; for a carry also its last value."""
    if op.name == "cond":
        return [op.inputs[i + 1]]
    if op.loop is None or not op.loop.carries(i):
        return [op.inputs[i]]
    return [op.inputs[i], body.outputs[i - op.loop.consts]]


def walk(body: Body, loops: tuple[int, ...] = ()) -> Iterator[Site]:
    """Every operation of a body and of the bodies that can be entered, in order."""
    for op in body.ops:
        yield Site(op, loops)
        if op.enterable:
            inner = (*loops, op.loop.length) if op.loop else loops
            for sub in op.bodies:
                yield from walk(sub, inner)
