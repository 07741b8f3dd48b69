"""Separation of examples: whether activities depend on one example or on several.

A value that depends on parameters and data is *active*: noise at a node changes it. Its
`ExampleInfo` holds where its examples are and how they are joined:

| joined | each entry depends on                                                  |
|--------|------------------------------------------------------------------------|
| None   | the activities of one example, and values that all examples share      |
| SUM    | a sum over examples of terms, each of one example's activities         |
| an op  | the activities of several examples, joined in this operation           |

A loss that is a SUM is a sum of per-example losses, with any weights from the
arguments: a mean over unmasked tokens, class weights and masks drawn from one key are
sums; batch normalisation, a contrastive loss and the root of a mean are not. Data of
several examples may be joined, because they are not active.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from .._analysis._dataflow import ACTIVITY, CONSTANT, DATA, PARAMETER, Flow
from .._analysis._primitives import (
    DEVICE_SUMS,
    LINEAR_NOT_REWRITTEN,
    STRUCTURAL,
    SUMS,
    SYNAPTIC,
)
from .._jaxpr import Atom, Body, Literal, Op
from ._axis_propagation import follow
from ._example_position import Place

SUM = "sum"


class ExampleInfo(NamedTuple):
    """The place of the examples of a value, and how they are joined."""

    place: Place | None = None
    active: bool = False
    joined: Op | str | None = None

    @property
    def is_own(self) -> bool:
        """Whether each entry is an activity of one example."""
        return self.active and self.place is not None and self.joined is None


@dataclass(frozen=True, eq=False)
class Sum:
    """A linear operation that sums activities over examples.

    Attributes:
      op: the operation.
      operand: the position of the operand that is summed.
      place: the place of its examples, with the loops around it as leading axes.
      loops: the number of loops around it.
    """

    op: Op
    operand: int
    place: Place
    loops: int


class Separation:
    """The `ExampleInfo` of every value of a program, and every sum over examples.

    Args:
      flow: the dataflow of the program.
      places: the place of the examples in each input of the program.
      count: the number of examples, at least 2.
      priors: the place of the examples in each node made of parameters alone.
    """

    def __init__(
        self,
        flow: Flow,
        places: Sequence[Place | None],
        count: int,
        priors: Mapping[int, Place | None],
    ) -> None:
        self.flow, self.count, self.priors = flow, count, priors
        self.of: dict[int, ExampleInfo] = {}
        self.sums: dict[int, Sum] = {}
        body = flow.program.body
        for number, place in zip(body.inputs, places, strict=True):
            self.of[number] = ExampleInfo(place)
        self._body(body, 0, True)

    def at(self, atom: Atom) -> ExampleInfo:
        """The info of a value; empty for a literal or a constant."""
        return (
            ExampleInfo() if isinstance(atom, Literal) else self.of.get(atom, _NOTHING)
        )

    @property
    def loss(self) -> ExampleInfo:
        """The info of the loss."""
        return self.at(self.flow.program.body.outputs[0])

    @property
    def mixing(self) -> Op | None:
        """The operation that joins examples, if the loss is not a sum over them."""
        joined = self.loss.joined
        return joined if isinstance(joined, Op) else None

    def _body(self, body: Body, loops: int, entered: bool) -> None:
        for op in body.ops:
            if op.name == "scan":
                self._scan(op, loops, entered)
            elif op.name in ("cond", "remat") or self._is_call(op):
                self._branches(op, loops, entered)
            else:
                self._plain(op, loops, entered)

    def _is_call(self, op: Op) -> bool:
        """Whether the operation calls a function with a user-written derivative."""
        called = op.name.startswith(("custom_jvp", "custom_vjp"))
        return called and len(op.bodies[0].inputs) == len(op.inputs)

    # ------------------------------------------------------------------- operations

    def _plain(self, op: Op, loops: int, entered: bool) -> None:
        given = [self.at(a) for a in op.inputs]
        followed = {
            i: follow(self.flow, op, i, s.place, self.count)
            for i, s in enumerate(given)
            if s.place is not None
        }
        for k, number in enumerate(op.outputs):
            if number in self.priors:
                self.of[number] = ExampleInfo(self.priors[number], True)
                continue
            if not self._active(number, given):
                place = _first([f[k] for f in followed.values()])
                self.of[number] = ExampleInfo(place or self._guessed(op, k, given))
                continue
            if op.name == "shard_map":  # not entered: its body may sum over devices
                self.of[number] = ExampleInfo(None, True, op)
                continue
            own = {i: f[k] for i, f in followed.items() if given[i].is_own}
            others = [f[k] for i, f in followed.items() if i not in own]
            places = set(own.values())
            lost = None in places or len(places) > 1
            place = None if lost else _first([*places, *others])
            if not lost and place is None:
                place = self._guessed(op, k, given)
            joined = self._joined(op, number, given, list(own) if lost else [])
            self.of[number] = ExampleInfo(place, True, joined)
            if lost and joined == SUM and not self._record(op, own, loops, entered):
                self.of[number] = ExampleInfo(None, True, op)

    def _active(self, number: int, given: Sequence[ExampleInfo]) -> bool:
        # Kinds are unknown inside functions with a user-written derivative.
        kind = self.flow.kind.get(number, DATA)
        if kind in (CONSTANT, PARAMETER):
            return False
        # Values without a derivative may be active too.
        return kind == ACTIVITY or any(s.active for s in given)

    def _joined(
        self, op: Op, number: int, given: Sequence[ExampleInfo], lost: Sequence[int]
    ) -> Op | str | None:
        """How examples are joined in the output, given the operands without a place."""
        met = [s.joined for s in given if isinstance(s.joined, Op)]
        if met:
            return met[0]
        sums = [i for i, s in enumerate(given) if s.joined == SUM]
        if not sums and not lost:
            return None
        beside = any(s.is_own for i, s in enumerate(given) if i not in lost)
        inexact = jnp.issubdtype(self.flow.program.shapes[number].dtype, jnp.inexact)
        if beside or not inexact or not _is_linear(op, given, [*sums, *lost]):
            return op
        return SUM

    def _record(
        self, op: Op, own: dict[int, Place | None], loops: int, entered: bool
    ) -> bool:
        """Record a sum, if it can be evaluated for each example."""
        lost = next(iter(own))
        place = self.at(op.inputs[lost]).place
        assert place is not None
        known = all(isinstance(a, Literal) or self._is_read(a) for a in op.inputs)
        if not entered or not known:
            return False
        here = place.at(place.axis + loops)
        self.sums[id(op)] = Sum(op, lost, here, loops)
        return True

    def _is_read(self, number: int) -> bool:
        """Whether an evaluation can read the value: an operation computes it."""
        return number in self.flow.maker or number not in self.flow.entry

    def _guessed(self, op: Op, k: int, given: Sequence[ExampleInfo]) -> Place | None:
        """The assumed place of data that join examples: entry `e` is of example `e`."""
        after = self.flow.shape(op.outputs[k])
        for atom, info in zip(op.inputs, given, strict=True):
            place, before = info.place, self.flow.shape(atom)
            if place is None or place.axis < 0 or len(after) <= place.axis:
                continue
            if after[place.axis] == before[place.axis]:
                return place
        return None

    # -------------------------------------------------------------- bodies, and loops

    def _enter(self, atoms: Sequence[Atom], numbers: Sequence[int]) -> None:
        for atom, number in zip(atoms, numbers, strict=True):
            self.of[number] = self.at(atom)

    def _branches(self, op: Op, loops: int, entered: bool) -> None:
        chosen = op.name == "cond"
        for body in op.bodies if op.enterable else op.bodies[:1]:
            self._enter(op.inputs[1:] if chosen else op.inputs, body.inputs)
            self._body(body, loops, entered and op.enterable)
        bodies = op.bodies if op.enterable else op.bodies[:1]
        for i, number in enumerate(op.outputs):
            found = [self.at(body.outputs[i]) for body in bodies]
            joined = found[0]
            for other in found[1:]:
                joined = _either(joined, other, op)
            if chosen and self.at(op.inputs[0]).active:
                joined = ExampleInfo(None, True, op)
            self.of[number] = self._kinded(number, joined)

    def _kinded(self, number: int, info: ExampleInfo) -> ExampleInfo:
        active = self._active(number, [info])
        joined = info.joined if active else None
        return ExampleInfo(info.place, active, joined)

    def _scan(self, op: Op, loops: int, entered: bool) -> None:
        (body,), loop = op.bodies, op.loop
        assert loop is not None
        first = loop.consts + loop.carry
        for atom, number in zip(op.inputs, body.inputs, strict=True):
            self.of[number] = _around(self.at(atom))
        for atom, number in zip(op.inputs[first:], body.inputs[first:], strict=True):
            self.of[number] = _sliced(self.at(atom))
        carried = body.inputs[loop.consts : first]
        while True:  # information only decreases, so this ends
            self._body(body, loops + 1, entered)
            before = [self.of[c] for c in carried]
            for number, out in zip(carried, body.outputs, strict=False):
                after = _carried(self.at(out), op)
                joined = _either(self.of[number], after, op)
                self.of[number] = self._kinded(number, joined)
            if before == [self.of[c] for c in carried]:
                break
        for i, (number, out) in enumerate(zip(op.outputs, body.outputs, strict=True)):
            info = self.at(out)
            if i < loop.carry:
                left = _left(_carried(info, op))
                # A loop of no step returns its initial carry.
                info = _either(self.at(op.inputs[loop.consts + i]), left, op)
            else:
                info = _stacked(info)
            self.of[number] = self._kinded(number, info)


_NOTHING = ExampleInfo()
_LINEAR = (DEVICE_SUMS | STRUCTURAL | SUMS | SYNAPTIC | LINEAR_NOT_REWRITTEN) | {
    *("add", "sub", "neg", "mul", "div", "add_any", "real", "imag", "select_n"),
    *("scatter-add", "scatter", "dynamic_update_slice", "fft"),
}
# Jointly linear in all operands, so that all may be active.
_ADDS = frozenset(
    {"add", "sub", "add_any", "concatenate", "stack", "scatter-add", "pad"}
    | {"select_n", "dynamic_update_slice", "scatter", "optimization_barrier"}
)
# Operands that select entries, or divide: the operation is not linear in them.
_CHOOSES = {
    **{"select_n": (0,), "gather": (1,), "dynamic_slice": (1, 2, 3, 4, 5, 6, 7)},
    **{"scatter-add": (1,), "scatter": (1,), "div": (1,)},
    "dynamic_update_slice": (2, 3, 4, 5, 6, 7, 8),
}


def _is_linear(op: Op, given: Sequence[ExampleInfo], joined: Sequence[int]) -> bool:
    """Whether the operation is linear in the joined operands."""
    if op.name not in _LINEAR:
        return False
    active = [i for i, s in enumerate(given) if s.active]
    if set(active) & set(_CHOOSES.get(op.name, ())):
        return False
    if op.name in _ADDS or len(active) == 1:
        return True
    # The product of two activities of one example, summed over both.
    own = [given[i] for i in active if given[i].is_own]
    same = len(own) == len(active) == len(joined)
    return op.name == "dot_general" and same and _paired(op, own)


def _paired(op: Op, own: Sequence[ExampleInfo]) -> bool:
    (left, right), _ = op.params["dimension_numbers"]
    axes = [(s.place.axis, s.place[1:]) for s in own if s.place is not None]
    (a, ours), (b, theirs) = axes
    return ours == theirs and (a, b) in zip(left, right, strict=True)


def _first(places: Sequence[Place | None]) -> Place | None:
    return next((p for p in places if p is not None), None)


def _either(one: ExampleInfo, other: ExampleInfo, op: Op) -> ExampleInfo:
    """The info of a value that is one of two; `op` chooses."""
    met = [s.joined for s in (one, other) if isinstance(s.joined, Op)]
    active = one.active or other.active
    known = [s.place for s in (one, other) if s.place is not None]
    acting = [s.place for s in (one, other) if s.is_own] or known
    place = acting[0] if len(set(acting)) == 1 else None
    apart = len({s.place for s in (one, other) if s.is_own}) > 1
    sums = SUM in (one.joined, other.joined)
    if met:
        return ExampleInfo(place, active, met[0])
    if apart or (sums and (one.is_own or other.is_own)):
        return ExampleInfo(place, active, op)
    return ExampleInfo(place, active, SUM if sums else None)


def _moved(info: ExampleInfo, axis: int) -> ExampleInfo:
    assert info.place is not None
    return info._replace(place=info.place.at(axis))


def _around(info: ExampleInfo) -> ExampleInfo:
    """The info, inside a loop, of a constant of the loop."""
    place = info.place
    outside = place is not None and place.axis < 0
    return _moved(info, place.axis - 1) if place and outside else info


def _sliced(info: ExampleInfo) -> ExampleInfo:
    """The info of the slice that each step of a loop reads."""
    place = info.place
    return info if place is None else _moved(info, place.axis - 1)


def _stacked(info: ExampleInfo) -> ExampleInfo:
    """The info of a stacked output of a loop."""
    place = info.place
    return info if place is None else _moved(info, place.axis + 1)


def _carried(info: ExampleInfo, op: Op) -> ExampleInfo:
    """The info of a carry at the next step: another example, if steps are examples."""
    place = info.place
    if place is None or place.axis != -1:
        return info
    joined = op if info.is_own else info.joined
    return ExampleInfo(None, info.active, joined)


def _left(info: ExampleInfo) -> ExampleInfo:
    """The info of the final carry, outside of the loop."""
    place = info.place
    outside = place is not None and place.axis < -1
    return _moved(info, place.axis + 1) if place and outside else info
