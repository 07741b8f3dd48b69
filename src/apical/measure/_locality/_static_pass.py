"""The static pass: what is known of every value of a program, loops iterated."""

from __future__ import annotations

from collections.abc import Sequence

from ...circuit import Atom, Body, Literal, Op, Program, Use
from .._flops import CALLS, body_of_call
from ._operations import Operations, output_marks, zero_or_nothing
from ._parts import pieces_of
from ._values import FULL, ZERO, Hops, Seen, Source, Value, join, widened

# Loops are followed step by step up to this number; after that values are widened.
_STEPS = 128


class StaticPass:
    """What is known of the values of a program.

    Attributes:
      carrying: the variables that hold a parameter at some visit.
      channels: for each operation in which weights are used, by identity, the channel
        of each operand.
      crossings: for each scan, by identity, the most weight uses that a signal passes
        in one of its steps, from carry to carry.
    """

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Value],
        uses: Sequence[Use],
        examples: int | None = None,
        tell: bool = False,
    ) -> None:
        self.program = program
        self.operations = Operations(program, uses, examples, tell)
        constants = program.constants.items()
        self.values = {number: zero_or_nothing(x) for number, x in constants}
        self.carrying: set[int] = set()
        self.channels: dict[int, tuple[str | None, ...]] = {}
        self.crossings: dict[int, float] = {}
        self._marked: dict[int, dict[int, int]] = {}
        self.outputs = self.body(program.body, inputs)

    def read(self, atom: Atom) -> Value:
        """What is known of a value, or of a literal."""
        if isinstance(atom, Literal):
            return zero_or_nothing(atom.value)
        return self.values[atom]

    def bind(self, number: int, value: Value) -> None:
        """Keep what is known of a variable."""
        self.values[number] = value
        if value.holds_parameters:
            self.carrying.add(number)

    def body(self, body: Body, inputs: Sequence[Value]) -> list[Value]:
        """What is known of the outputs of a body, given its inputs."""
        for number, value in zip(body.inputs, inputs, strict=True):
            self.bind(number, value)
        if id(body) not in self._marked:
            self._marked[id(body)] = output_marks(body.ops)
        marked = self._marked[id(body)]
        for op in body.ops:
            values = [self.read(a) for a in op.inputs]
            outs = self.op(op, values, _mark(op, marked))
            for number, out in zip(op.outputs, outs, strict=True):
                self.bind(number, out)
        return [self.read(a) for a in body.outputs]

    def op(
        self, op: Op, values: Sequence[Value], marked: int | None
    ) -> Sequence[Value]:
        """What is known of the results of an operation."""
        if op.name == "scan":
            return self.scan(op, values)
        if op.name == "while":
            return self.loop(op, values)
        if op.name == "cond":
            return self.branches(op, values)
        channels = self.operations.reads(op, values, marked)
        channels = self.kept(op, channels)
        if op.name in CALLS:
            return self.call(op, values, marked, channels)
        pieces = pieces_of(self.program, op, values[0]) if values else None
        if pieces is not None:
            return pieces
        made = self.operations.after(op, values, marked, channels)
        return [made] * len(op.outputs)

    def kept(
        self, op: Op, channels: tuple[str | None, ...] | None
    ) -> tuple[str | None, ...] | None:
        """The channels of an operation at this visit, joined with earlier visits."""
        before = self.channels.get(id(op))
        if channels is None or before is None:
            found = channels
        else:
            pairs = zip(channels, before, strict=True)
            found = tuple(a if b is None or a == b else _worse(a, b) for a, b in pairs)
        if found is not None:
            self.channels[id(op)] = found
        return found

    def call(
        self,
        op: Op,
        values: Sequence[Value],
        marked: int | None,
        channels: tuple[str | None, ...] | None,
    ) -> Sequence[Value]:
        """The results of a function with its own derivative, or of a checkpoint."""
        inner = body_of_call(op)
        if inner is None:
            made = self.operations.after(op, values, marked, channels)
            made = made._replace(unknown=made.unknown | {op.name})
            return [made] * len(op.outputs)
        if channels is None or "forward" not in channels:
            self.channels.pop(id(op), None)
            return self.body(inner, values)
        # The weight is used by this call as a whole.
        rest = [
            v if c is None else v._replace(raw={}) for v, c in _pairs(values, channels)
        ]
        return [
            self.operations.used(op, values, channels, made, marked)
            for made in self.body(inner, rest)
        ]

    def branches(self, op: Op, values: Sequence[Value]) -> Sequence[Value]:
        """The results of a `cond`: those of any branch, and of the choice."""
        index, *rest = values
        each = [self.body(body, rest) for body in op.bodies]
        return [join([index, *column]) for column in zip(*each, strict=True)]

    def scan(self, op: Op, values: Sequence[Value]) -> Sequence[Value]:
        """The results of a scan, step by step."""
        (body,), loop = op.bodies, op.loop
        assert loop is not None
        first, last = loop.consts, loop.consts + loop.carry
        consts, carry, xs = values[:first], list(values[first:last]), values[last:]
        stacked = [ZERO] * (len(op.outputs) - loop.carry)
        every = carry
        for step in range(min(loop.length, _STEPS)):
            outs = self.body(body, [*consts, *carry, *xs])
            stacked = [join(p) for p in zip(stacked, outs[loop.carry :], strict=True)]
            after = outs[: loop.carry]
            if after == carry:
                break
            if step == _STEPS - 1 and loop.length > _STEPS:
                after = [widened(a, b) for a, b in zip(after, carry, strict=True)]
                more = self.body(body, [*consts, *after, *xs])[loop.carry :]
                stacked = [widened(a, b) for a, b in zip(more, stacked, strict=True)]
            carry = after
            every = [join(p) for p in zip(every, carry, strict=True)]
        # What a variable may hold at any step decides how the copies are carried.
        self.body(body, [*consts, *every, *xs])
        self.crossings[id(op)] = self.crossing(op, consts, xs)
        return [
            self.of_loop(
                v, number, "carry" if i < loop.carry else "stack", loop.reverse
            )
            for i, (v, number) in enumerate(_pairs([*carry, *stacked], op.outputs))
        ]

    def of_loop(self, value: Value, number: int, kind: str, reverse: bool) -> Value:
        """A result of a loop: a value of every step, or of the last."""
        if not value.signal:
            return value
        found = {Seen(kind, Source("loop", number), FULL)}
        if reverse and kind == "carry":
            found.add(Seen("backward", Source("loop", number), FULL))
        return value._replace(seen=value.seen | found)

    def crossing(self, op: Op, consts: Sequence[Value], xs: Sequence[Value]) -> float:
        """The most weight uses from the carry of a scan to its next carry."""
        loop = op.loop
        assert loop is not None
        before = dict(self.values), dict(self.channels), set(self.carrying)
        carried = op.bodies[0].inputs[loop.consts :][: loop.carry]
        starts = [_with_hops(self.values[n], {"carry": (0.0, 0.0)}) for n in carried]
        signals = [_with_hops(c, {}) for c in consts]
        outs = self.body(op.bodies[0], [*signals, *starts, *xs])
        self.values, self.channels, self.carrying = before
        return max(
            (v.hops.get("carry", (0, 0))[1] for v in outs[: loop.carry]), default=0
        )

    def loop(self, op: Op, values: Sequence[Value]) -> Sequence[Value]:
        """The results of a `while`: the limit over its steps."""
        first, second = op.params["cond_nconsts"], op.params["body_nconsts"]
        condition, body = op.bodies
        asked, consts = values[:first], values[first : first + second]
        carry = list(values[first + second :])
        for step in range(_STEPS):
            again = self.body(condition, [*asked, *carry])
            outs = self.body(body, [*consts, *carry])
            after = [join([c, o, *again]) for c, o in zip(carry, outs, strict=True)]
            if after == carry:
                break
            if step > 8:
                after = [widened(a, b) for a, b in zip(after, carry, strict=True)]
            carry = after
        return carry


def _pairs(a, b):
    return zip(a, b, strict=True)


def _with_hops(value: Value, hops: dict[str, Hops]) -> Value:
    """A value, and its parts, with other paths to it."""
    if value.parts is None:
        return value._replace(hops=hops)
    axis, pieces = value.parts
    parts = (axis, tuple((n, _with_hops(piece, hops)) for n, piece in pieces))
    return value._replace(hops=hops, parts=parts)


def _worse(a: str | None, b: str | None) -> str | None:
    return a if b is None else b if a is None else "direct"


def _mark(op: Op, marked: dict[int, int]) -> int | None:
    return marked.get(op.outputs[0]) if op.outputs else None
