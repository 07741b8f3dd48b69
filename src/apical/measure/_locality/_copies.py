"""Evaluation of a program with several copies of the parameters.

Each parameter has three copies: one for the marked uses of the forward computation, one
for other products in forward direction, one for all the rest. A value that holds a
parameter holds one value per copy; where the weight is used, as the static pass found,
one of them is chosen. Equal copies give the values of the program itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from ...circuit import Atom, Body, Literal, Op, Program
from .._flops import body_of_call
from ._static_pass import StaticPass


class Copies(NamedTuple):
    """The values of something that holds a parameter, one per copy."""

    forward: Any
    second: Any
    rest: Any

    def of(self, channel: str | None) -> Any:
        """The value of the copy that a channel reads."""
        if channel in ("forward", "second"):
            return getattr(self, channel)
        return self.rest


class CopiesPass:
    """Evaluates a program with copies, and with changes at its marks.

    Args:
      program: the program.
      static: the static pass over it.
      at_mark: `at_mark(name, value)` returns the value after a mark.
    """

    def __init__(
        self,
        program: Program,
        static: StaticPass,
        at_mark: Callable[[str, Any], Any],
    ) -> None:
        self.program, self.static, self.at_mark = program, static, at_mark

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """The outputs; of those that hold a parameter, the value of the last copy."""
        outs = self.body(self.program.body, inputs)
        return [v.rest if isinstance(v, Copies) else v for v in outs]

    def body(self, body: Body, inputs: Sequence[Any]) -> list[Any]:
        """The outputs of a body."""
        values: dict[int, Any] = dict(self.program.constants)
        pairs = zip(body.inputs, inputs, strict=True)
        values.update({n: self.shaped(n, v) for n, v in pairs})

        def read(atom: Atom) -> Any:
            return atom.value if isinstance(atom, Literal) else values[atom]

        for op in body.ops:
            outs = self.op(op, [read(a) for a in op.inputs])
            for number, out in zip(op.outputs, outs, strict=True):
                values[number] = self.shaped(number, out)
        return [read(a) for a in body.outputs]

    def shaped(self, number: int, value: Any) -> Any:
        """A value with copies if its variable may hold a parameter, else without."""
        if number in self.static.carrying:
            return value if isinstance(value, Copies) else Copies(value, value, value)
        return value.rest if isinstance(value, Copies) else value

    def op(self, op: Op, values: Sequence[Any]) -> Sequence[Any]:
        """The results of an operation."""
        channels = self.static.channels.get(id(op))
        if channels is not None:
            values = [
                v.of(c) if isinstance(v, Copies) else v
                for v, c in zip(values, channels, strict=True)
            ]
        if op.name == "scan":
            return self.scan(op, values)
        if op.name == "while":
            return self.loop(op, values)
        if op.name == "cond":
            return self.branches(op, values)
        inner = body_of_call(op)
        if inner is not None:
            return self.body(inner, values)
        if op.name == "name":
            name = str(op.params["name"])
            return [_each(lambda x: self.at_mark(name, x), values)]
        if not any(isinstance(v, Copies) for v in values):
            return op(*values)
        kinds = [op(*_of(values, kind)) for kind in Copies._fields]
        return [Copies(*column) for column in zip(*kinds, strict=True)]

    def branches(self, op: Op, values: Sequence[Any]) -> Sequence[Any]:
        """The results of a `cond`."""
        index, *operands = values

        def branch(body: Body) -> Callable[..., Any]:
            return lambda *inputs: self.outputs(op, self.body(body, inputs))

        branches = [branch(body) for body in op.bodies]
        if not isinstance(index, Copies):
            return jax.lax.switch(index, branches, *operands)
        kinds = [
            _of(jax.lax.switch(i, branches, *_of(operands, kind)), kind)
            for kind, i in zip(Copies._fields, index, strict=True)
        ]
        return [Copies(*column) for column in zip(*kinds, strict=True)]

    def outputs(self, op: Op, outs: Sequence[Any]) -> list[Any]:
        """The outputs of a body in the form that the operation's results have."""
        pairs = zip(op.outputs, outs, strict=True)
        return [self.shaped(number, value) for number, value in pairs]

    def scan(self, op: Op, values: Sequence[Any]) -> Sequence[Any]:
        """The results of a scan."""
        (body,), loop = op.bodies, op.loop
        assert loop is not None
        first, last = loop.consts, loop.consts + loop.carry
        consts, xs = list(values[:first]), list(values[last:])
        numbers = body.inputs[first:last]
        starts = zip(numbers, values[first:last], strict=True)
        carry = [self.shaped(n, v) for n, v in starts]

        def step(carry: Any, xs: Any) -> Any:
            outs = self.body(body, [*consts, *carry, *xs])
            pairs = zip(numbers, outs[: loop.carry], strict=True)
            return [self.shaped(n, v) for n, v in pairs], outs[loop.carry :]

        carry, ys = jax.lax.scan(
            step, carry, xs, length=loop.length, reverse=loop.reverse
        )
        return [*carry, *ys]

    def loop(self, op: Op, values: Sequence[Any]) -> Sequence[Any]:
        """The results of a `while`; its condition reads the last copy."""
        first, second = op.params["cond_nconsts"], op.params["body_nconsts"]
        condition, body = op.bodies
        asked, consts = values[:first], values[first : first + second]
        numbers = body.inputs[second:]
        start = values[first + second :]
        carry = [self.shaped(n, v) for n, v in zip(numbers, start, strict=True)]

        def going(carry: Any) -> Any:
            (found,) = self.body(condition, [*asked, *carry])
            return found.rest if isinstance(found, Copies) else found

        def step(carry: Any) -> Any:
            outs = self.body(body, [*consts, *carry])
            return [self.shaped(n, v) for n, v in zip(numbers, outs, strict=True)]

        return jax.lax.while_loop(going, step, carry)


def _each(function: Callable[[Any], Any], values: Sequence[Any]) -> Any:
    (value,) = values
    if isinstance(value, Copies):
        return Copies(*map(function, value))
    return function(value)


def _of(values: Sequence[Any], kind: str) -> list[Any]:
    return [getattr(v, kind) if isinstance(v, Copies) else v for v in values]
