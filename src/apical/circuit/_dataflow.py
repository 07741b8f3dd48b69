"""Who depends on what: constant, parameter, data or activity, and where they meet.

The kind of a value is a set of two flags, so that kinds join by *or*:

| kind      | depends on                                    |
|-----------|-----------------------------------------------|
| CONSTANT  | nothing (closed-over arrays, literals)        |
| PARAMETER | parameters alone: an *effective weight*       |
| DATA      | arguments alone (or carries no derivative)    |
| ACTIVITY  | both                                          |

`raw` are the parameter leaves that a value carries *without a synapse between*. A
weight times an argument is an activity that is raw in the weight; when it then meets
data in a linear operation, no transformation can tell the weight from the activity
any more, and a `Refusal` says so.

An argument that all examples share (`batch` says so) may mask a weight: what becomes
of the two, entry by entry and no larger than the weight, is an effective weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax.numpy as jnp

from ._jaxpr import Atom, Body, Literal, Op, Program
from ._primitives import (
    ELEMENTWISE_LINEAR,
    LINEAR_NOT_REWRITTEN,
    SYNAPTIC,
    holds_synaptic,
    is_elementwise,
)

CONSTANT, PARAMETER, DATA, ACTIVITY = 0, 1, 2, 3

NODE_MARK = "apical.node:"
BERNOULLI_MARK = "apical.bernoulli:"
OUTPUT_MARK = "apical.output"
NODE_MARKS = (NODE_MARK, BERNOULLI_MARK)


@dataclass(frozen=True, eq=False)
class Site:
    """Where an operation stands: the loops around it, from the outside."""

    op: Op
    loops: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Meeting:
    """A linear operation where an effective weight meets a value made from data.

    `weight` is the position of the weight among the operands, None in an operation
    that is not rewritten (its user-written derivative, say, stands as it is).
    """

    op: Op
    weight: int | None
    leaves: frozenset[int]
    loops: tuple[int, ...]

    @property
    def activities(self) -> tuple[Atom, ...]:
        """The operands other than the weight."""
        inputs = enumerate(self.op.inputs)
        return tuple(a for i, a in inputs if i != self.weight)


class Flow:
    """The kind of every value of a program, and who makes and reads it.

    The program's inputs are parameters, constants and arguments, in this order;
    `shared` are those of them, by position, that all examples share.
    """

    def __init__(
        self,
        program: Program,
        parameters: int,
        constants: int,
        shared: frozenset[int] = frozenset(),
    ) -> None:
        self.program = program
        self.varying: set[int] = set()
        self.kind: dict[int, int] = {}
        self.raw: dict[int, frozenset[int]] = {}
        self.maker: dict[int, tuple[Op, int]] = {}
        self.entry: dict[int, tuple[Op, Body, int]] = {}
        self.readers: dict[int, list[Op]] = {}
        for number in program.constants:
            self._set(number, CONSTANT, frozenset(), False)
        for i, number in enumerate(program.body.inputs):
            kind = PARAMETER if i < parameters else DATA
            kind = CONSTANT if parameters <= i < parameters + constants else kind
            leaves = frozenset({i}) if kind == PARAMETER else frozenset[int]()
            self._set(number, kind, leaves, kind == DATA and i not in shared)
        self._sizes = [
            math.prod(program.shapes[n].shape) for n in program.body.inputs[:parameters]
        ]
        self._link(program.body)
        self.order = {n: i for i, n in enumerate(self.maker)}  # program order
        self._body(program.body)

    def kind_of(self, atom: Atom) -> int:
        """The kind of a value; a literal is constant."""
        return CONSTANT if isinstance(atom, Literal) else self.kind[atom]

    def raw_of(self, atom: Atom) -> frozenset[int]:
        """The leaves that the value carries with no synapse between."""
        return frozenset() if isinstance(atom, Literal) else self.raw[atom]

    def raw_into(self, op: Op) -> frozenset[int]:
        """The leaves that an operation is handed with no synapse between."""
        return frozenset[int]().union(*(self.raw_of(a) for a in op.inputs))

    def leaves_before(self, op: Op) -> frozenset[int]:
        """Every leaf that an operation depends on."""
        found, seen = frozenset[int](), set[Atom]()
        stack = list(op.inputs)
        while stack:
            atom = stack.pop()
            if isinstance(atom, Literal) or atom in seen:
                continue
            seen.add(atom)
            if self.kind[atom] == PARAMETER:
                found |= self.raw[atom]
            elif atom in self.entry:
                stack += self.entry[atom][0].inputs
            elif atom in self.maker:
                stack += self.maker[atom][0].inputs
        return found

    def is_activity(self, atom: Atom) -> bool:
        """Whether the value depends on parameters and data."""
        return self.kind_of(atom) == ACTIVITY

    def is_mixed(self, atom: Atom) -> bool:
        """Whether parameters met data here, but not yet at a synapse."""
        return self.is_activity(atom) and bool(self.raw_of(atom))

    def shape(self, atom: Atom) -> tuple[int, ...]:
        """The shape of a value inside its own scope."""
        if isinstance(atom, Literal):
            return jnp.shape(atom.value)
        return self.program.shapes[atom].shape

    def varies(self, atom: Atom) -> bool:
        """Whether the value depends on an argument that differs between examples."""
        return not isinstance(atom, Literal) and atom in self.varying

    def _set(self, number: int, kind: int, raw: frozenset[int], varies: bool) -> None:
        if varies:
            self.varying.add(number)
        dtype = self.program.shapes[number].dtype
        if kind == ACTIVITY and not jnp.issubdtype(dtype, jnp.inexact):
            kind, raw = DATA, frozenset()
        self.kind[number], self.raw[number] = kind, raw

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

    def _body(self, body: Body) -> None:
        for op in body.ops:
            if op.name == "scan":
                self._scan(op)
            elif op.enterable:
                self._branches(op)
            else:
                self._plain(op)

    def _join(self, atoms: Sequence[Atom]) -> tuple[int, frozenset[int], bool]:
        kind = 0
        for atom in atoms:
            kind |= self.kind_of(atom)
        settled = any(self.is_activity(a) and not self.raw_of(a) for a in atoms)
        raws = frozenset[int]().union(*(self.raw_of(a) for a in atoms))
        return kind, frozenset() if settled else raws, any(map(self.varies, atoms))

    def _plain(self, op: Op) -> None:
        kind, raw, varies = self._join(op.inputs)
        if op.name == "stop_gradient" and kind == ACTIVITY:
            kind, raw = DATA, frozenset()
        if kind == ACTIVITY and (mark_of(op) or self._contracts(op)):
            raw = frozenset()
        if kind == ACTIVITY and not varies and self._is_masked_weight(op):
            kind = PARAMETER
        for number in op.outputs:
            self._set(number, kind, raw, varies)

    def _is_masked_weight(self, op: Op) -> bool:
        """Whether weights met what all examples share, entry by entry."""
        size = math.prod(self.shape(op.outputs[0]))
        return (
            is_elementwise(op)
            and not self._contracts(op)
            and not any(map(self.is_activity, op.inputs))
            and size <= sum(self._sizes[i] for i in self.raw_into(op))
        )

    def _contracts(self, op: Op) -> bool:
        return op.name in SYNAPTIC or holds_synaptic(op) or is_contraction(self, op)

    def _copy(self, sources: Sequence[Atom], targets: Sequence[int]) -> None:
        for atom, number in zip(sources, targets, strict=True):
            self._set(number, self.kind_of(atom), self.raw_of(atom), self.varies(atom))

    def _branches(self, op: Op) -> None:
        operands = op.inputs[1:] if op.name == "cond" else op.inputs
        for body in op.bodies:
            self._copy(operands, body.inputs)
            self._body(body)
        for i, number in enumerate(op.outputs):
            kind, raw, varies = self._join([body.outputs[i] for body in op.bodies])
            if op.name == "cond":  # the choice itself carries no derivative
                kind |= self.kind_of(op.inputs[0]) & DATA
                varies |= self.varies(op.inputs[0])
            self._set(number, kind, raw, varies)

    def _scan(self, op: Op) -> None:
        (body,), loop = op.bodies, op.loop
        assert loop is not None
        self._copy(op.inputs, body.inputs)
        carried = body.inputs[loop.consts : loop.consts + loop.carry]
        while True:  # kinds only grow, so this ends
            self._body(body)
            before = [self._state(c) for c in carried]
            for number, out in zip(carried, body.outputs[: loop.carry], strict=True):
                self._set(number, *self._join([number, out]))
            if before == [self._state(c) for c in carried]:
                break
        self._copy(body.outputs, op.outputs)

    def _state(self, number: int) -> tuple[int, frozenset[int], bool]:
        return self.kind[number], self.raw[number], self.varies(number)


def mark_of(op: Op) -> str | None:
    """The mark of `apical.node`, `apical.bernoulli` or `apical.output`, if any."""
    name = str(op.params["name"]) if op.name == "name" else ""
    return name if name.startswith((*NODE_MARKS, OUTPUT_MARK)) else None


def draws(op: Op) -> bool:
    """Whether the operation is the mark of a stochastic node."""
    return (mark_of(op) or "").startswith(BERNOULLI_MARK)


def walk(body: Body, loops: tuple[int, ...] = ()) -> Iterator[Site]:
    """Every operation of a body and of the bodies that can be entered, in order."""
    for op in body.ops:
        yield Site(op, loops)
        if op.enterable:
            inner = (*loops, op.loop.length) if op.loop else loops
            for sub in op.bodies:
                yield from walk(sub, inner)


def meetings(flow: Flow) -> list[Meeting]:
    """The synapses of a program, in program order."""
    found = (_meeting(flow, site) for site in walk(flow.program.body))
    return [m for m in found if m is not None]


def _meeting(flow: Flow, site: Site) -> Meeting | None:
    op, kinds = site.op, [flow.kind_of(a) for a in site.op.inputs]
    if not any(k & DATA for k in kinds):
        return None
    if op.name in SYNAPTIC or is_contraction(flow, op):
        if PARAMETER in kinds[:2]:
            weight = kinds.index(PARAMETER)
            return Meeting(op, weight, flow.raw_of(op.inputs[weight]), site.loops)
        return None
    carried = flow.raw_into(op)
    if carried and not op.enterable and (holds_synaptic(op) or is_linear(op)):
        return Meeting(op, None, carried, site.loops)
    return None


def gains(flow: Flow) -> list[Meeting]:
    """Elementwise products of an effective weight with an activity."""
    found = []
    for site in walk(flow.program.body):
        op, kinds = site.op, [flow.kind_of(a) for a in site.op.inputs]
        product = op.name == "mul" and sorted(kinds) == [PARAMETER, ACTIVITY]
        if product and not is_contraction(flow, op):
            weight = kinds.index(PARAMETER)
            leaves = flow.raw_of(op.inputs[weight])
            found.append(Meeting(op, weight, leaves, site.loops))
    return found


def is_linear(op: Op) -> bool:
    """Whether the operation is linear in its operands, and never rewritten."""
    return op.name in LINEAR_NOT_REWRITTEN


def is_contraction(flow: Flow, op: Op) -> bool:
    """Whether a product is summed over an axis along which both factors vary."""
    if op.name != "mul" or any(isinstance(a, Literal) for a in op.inputs):
        return False
    shapes = [flow.shape(a) for a in op.inputs]
    if len(shapes[0]) != len(shapes[1]) or op.inputs[0] == op.inputs[1]:
        return False
    both = {i for i, sizes in enumerate(zip(*shapes, strict=True)) if min(sizes) > 1}
    readers = flow.readers.get(op.outputs[0], [])
    while len(readers) == 1 and _keeps_axes(flow, readers[0], shapes[0]):
        readers = flow.readers.get(readers[0].outputs[0], [])
    if len(readers) != 1 or readers[0].name != "reduce_sum":
        return False
    varies = both - _constant_axes(flow, op.inputs)
    return bool(varies & set(readers[0].params["axes"]))


def _keeps_axes(flow: Flow, op: Op, shape: tuple[int, ...]) -> bool:
    """Whether an affine operation entry by entry stands between product and sum."""
    return op.name in ELEMENTWISE_LINEAR and len(flow.shape(op.outputs[0])) == len(
        shape
    )


def _constant_axes(flow: Flow, atoms: Sequence[Atom]) -> set[int]:
    """Axes along which one of the factors was only repeated."""
    repeated: set[int] = set()
    for atom in atoms:
        maker = None if isinstance(atom, Literal) else flow.maker.get(atom)
        if maker is None or maker[0].name != "broadcast_in_dim":
            continue
        op, source = maker[0], flow.shape(maker[0].inputs[0])
        kept = zip(op.params["broadcast_dimensions"], source, strict=True)
        varying = {axis for axis, size in kept if size > 1}
        repeated |= set(range(len(flow.shape(atom)))) - varying
    return repeated
