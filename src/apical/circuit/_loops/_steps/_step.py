"""One step of a loop as a function of what is fixed, the carry and the inputs.

Operations that do not depend on the carry or on the inputs of a step are hoisted out of
the loop. What the others read of them is `fixed`; the part of it that depends on
parameters are the `weights` of the step, which have eligibility traces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import jax.numpy as jnp
import numpy as np

from ..._analysis._dataflow import PARAMETER, Flow
from ..._analysis._primitives import SYNAPTIC
from ..._analysis._synapses import WeightedOp
from ..._jaxpr import Atom, Body, Literal, Op


@dataclass(frozen=True, eq=False)
class StepSynapse:
    """A linear operation in a step: a fixed weight meets a value that changes.

    `number` is its position among the weighted operations of the circuit; None if its
    weight is not learned.
    """

    op: Op
    weight: int
    number: int | None

    @property
    def input(self) -> Atom:
        """The value that meets the weight."""
        return self.op.inputs[1 - self.weight]

    @property
    def output(self) -> int:
        """The variable of the result."""
        return self.op.outputs[0]


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a `lax.scan`, or a part of it.

    Variables are those of the loop's body. The pairs of carries, before and after a
    step, leave out those that the body returns unchanged: these are fixed.

    Attributes:
      flow: the program of the loss function.
      carries: the carries before the step.
      carried: the same after the step.
      xs: the inputs of the step.
      ys: the outputs of the step.
      hoisted: the operations whose results are the same at every step, in order.
      ops: the operations of the step, in order.
      synapses: the products of a fixed value and one that changes, in order.
      positions: the position of each of `carries` among the carries of the loop.
      original: for each operation, by identity, the one of the program it stands for:
        a checkpoint in the body is inlined.
      same: the variables of checkpoints that stand for another value.
    """

    flow: Flow
    carries: tuple[int, ...]
    carried: tuple[Atom, ...]
    xs: tuple[int, ...]
    ys: tuple[Atom, ...]
    hoisted: tuple[Op, ...]
    ops: tuple[Op, ...]
    synapses: tuple[StepSynapse, ...]
    positions: tuple[int, ...]
    original: Mapping[int, Op]
    same: Mapping[int, Atom]

    @cached_property
    def changing(self) -> frozenset[int]:
        """The variables that depend on the carry or on the inputs of the step."""
        found = {*self.carries, *self.xs}
        for op in self.ops:
            found.update(op.outputs)
        return frozenset(found)

    @cached_property
    def fixed(self) -> tuple[int, ...]:
        """The variables that the step reads and that are the same at every step."""
        read: list[Atom] = [a for op in self.ops for a in reads(op)]
        read += [*self.carried, *self.ys]
        numbers = (a for a in read if not isinstance(a, Literal))
        return tuple(dict.fromkeys(n for n in numbers if n not in self.changing))

    @cached_property
    def weights(self) -> tuple[int, ...]:
        """The fixed variables that depend on parameters."""
        return tuple(n for n in self.fixed if self.learns(n))

    def learns(self, atom: Atom) -> bool:
        """Whether a value depends on parameters, with a derivative."""
        if isinstance(atom, Literal):
            return False
        return self.inexact(atom) and bool(self.flow.kind[atom] & PARAMETER)

    @cached_property
    def active(self) -> tuple[int, ...]:
        """The positions of the carries that depend on parameters."""
        return tuple(i for i, n in enumerate(self.carries) if self.learns(n))

    @cached_property
    def synapse_at(self) -> dict[int, int]:
        """The position of the synapse of an operation, by the operation's identity."""
        return {id(s.op): i for i, s in enumerate(self.synapses)}

    @cached_property
    def uses(self) -> tuple[tuple[Op, int], ...]:
        """Where an operation that is no synapse reads a weight, by operand."""
        return tuple(
            (op, i)
            for op in self.ops
            if id(op) not in self.synapse_at
            for i, a in enumerate(op.inputs)
            if a in self.weights
        )

    @cached_property
    def use_at(self) -> dict[tuple[int, int], int]:
        """The position among `uses`, by the operation's identity and the operand."""
        return {(id(op), i): j for j, (op, i) in enumerate(self.uses)}

    def inexact(self, number: int) -> bool:
        """Whether a variable can have a derivative."""
        return jnp.issubdtype(self.dtype(number), jnp.inexact)

    def shape(self, atom: Atom) -> tuple[int, ...]:
        """The shape of a value in the step."""
        return self.flow.shape(atom)

    def dtype(self, number: int) -> np.dtype:
        """The dtype of a variable."""
        return self.flow.program.shapes[number].dtype

    def part(
        self,
        carries: Sequence[int],
        ys: Sequence[Atom],
        given: Sequence[int] = (),
    ) -> Step:
        """The part of a step that computes some carries and outputs.

        Args:
          carries: the positions of the carries that it keeps.
          ys: its outputs.
          given: variables that it reads as further inputs, in place of computing them.
        """
        carried = [self.carried[i] for i in carries]
        wanted = {a for a in (*carried, *ys) if not isinstance(a, Literal)}
        kept: list[Op] = []
        for op in reversed(self.ops):
            if wanted.intersection(op.outputs) and not set(op.outputs) <= set(given):
                kept.append(op)
                wanted.update(reads(op))
        ids = {id(op) for op in kept}
        return replace(
            self,
            carries=tuple(self.carries[i] for i in carries),
            carried=tuple(carried),
            xs=(*self.xs, *given),
            ys=tuple(ys),
            ops=tuple(kept[::-1]),
            synapses=tuple(s for s in self.synapses if id(s.op) in ids),
            positions=tuple(self.positions[i] for i in carries),
        )


def reads(op: Op) -> tuple[int, ...]:
    """The variables that an operation reads."""
    return tuple(a for a in op.inputs if not isinstance(a, Literal))


def step_of(flow: Flow, found: Sequence[WeightedOp], op: Op) -> Step:
    """The step of a scan.

    Args:
      flow: the program.
      found: its weighted operations.
      op: the scan.
    """
    (body,), loop = op.bodies, op.loop
    assert loop is not None
    first = loop.consts + loop.carry
    carries, xs = body.inputs[loop.consts : first], body.inputs[first:]
    ops, same, original = _inlined(body)
    outs = [resolved(a, same) for a in body.outputs]
    still = [a == n for n, a in zip(carries, outs, strict=False)]
    pairs = list(zip(carries, outs, still, strict=False))
    changing = {n for n, _, kept in pairs if not kept} | set(xs)
    hoisted: list[Op] = []
    moving: list[Op] = []
    for each in ops:
        if changing.intersection(reads(each)):
            changing.update(each.outputs)
            moving.append(each)
        else:
            hoisted.append(each)
    numbers = {id(m.op): (i, m.weight) for i, m in enumerate(found)}
    synapses = _synapses(moving, original, numbers, changing)
    step = Step(
        flow=flow,
        carries=tuple(n for n, _, kept in pairs if not kept),
        carried=tuple(a for _, a, kept in pairs if not kept),
        xs=xs,
        ys=tuple(outs[loop.carry :]),
        hoisted=tuple(hoisted),
        ops=tuple(moving),
        synapses=tuple(synapses),
        positions=tuple(i for i, (*_, kept) in enumerate(pairs) if not kept),
        original=original,
        same=same,
    )
    return step.part(range(len(step.carries)), step.ys)


def _synapses(
    ops: Sequence[Op],
    original: Mapping[int, Op],
    numbers: Mapping[int, tuple[int, int | None]],
    changing: set[int],
) -> Iterator[StepSynapse]:
    for op in ops:
        number, weight = numbers.get(id(original[id(op)]), (None, None))
        if number is not None and weight is not None:
            if op.inputs[weight] not in changing:
                yield StepSynapse(op, weight, number)
            continue
        if op.name in SYNAPTIC and number is None:
            moving = [a in changing for a in op.inputs[:2]]
            if sum(moving) == 1:
                yield StepSynapse(op, moving.index(False), None)


def _inlined(body: Body) -> tuple[list[Op], dict[int, Atom], dict[int, Op]]:
    """The operations of a body with checkpoints inlined.

    Returns the operations, the variables that are another value under a second number,
    and the operation that each stands for, by identity.
    """
    ops: list[Op] = []
    same: dict[int, Atom] = {}
    original: dict[int, Op] = {}

    def visit(body: Body) -> None:
        for op in body.ops:
            inputs = tuple(resolved(a, same) for a in op.inputs)
            if op.name == "remat":
                (inner,) = op.bodies
                same.update(zip(inner.inputs, inputs, strict=True))
                visit(inner)
                outs = (resolved(a, same) for a in inner.outputs)
                same.update(zip(op.outputs, outs, strict=True))
                continue
            here = op if inputs == op.inputs else replace(op, inputs=inputs)
            original[id(here)] = op
            ops.append(here)

    visit(body)
    return ops, same, original


def resolved(atom: Atom, same: Mapping[int, Atom]) -> Atom:
    """The value that a variable stands for."""
    return atom if isinstance(atom, Literal) else same.get(atom, atom)
