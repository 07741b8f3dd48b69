"""Dependence of each value: constant, parameter, data or activity.

The kind of a value is a set of two flags, so that kinds join by *or*:

| kind      | depends on                                    |
|-----------|-----------------------------------------------|
| CONSTANT  | nothing (closed-over arrays, literals)        |
| PARAMETER | parameters alone: an *effective weight*       |
| DATA      | arguments alone (or carries no derivative)    |
| ACTIVITY  | both                                          |

The `raw` leaves of a value are the parameters it depends on *without a synapse in
between*. A weight times an argument is an activity that is raw in the weight. If it
enters a later linear operation with data, the weight can no longer be separated from
the activity: that is a `Refusal`.

A value of parameters alone that is marked as a node (a prior, a bias that generates) is
an activity from the mark on: a rule may hold another value there for each example.

Two kinds of effective weight are computed with arguments:

* `derived`: a parameter combined with values that all examples share (by `batch_axes`):
  a mask, a base weight, its own norm, its own gradient. It counts as a parameter.
* `modulated`: an activity that is linear in a weight while everything else is held, as
  in a convolution whose kernel is scaled for each example. It is an activity, but has a
  second copy if the parameters have one.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from .._jaxpr import Atom, Body, Literal, Op, Program
from .._marks import mark_of, marks_node
from ._graph import Graph
from ._primitives import (
    ELEMENTWISE_LINEAR,
    LINEAR_SELECTIONS,
    STRUCTURAL,
    SUMS,
    SYNAPTIC,
    holds_synaptic,
)
from ._varying_axes import VaryingAxes

CONSTANT, PARAMETER, DATA, ACTIVITY = 0, 1, 2, 3


class Flow(Graph):
    """The kind of every value of a program.

    The program's inputs are parameters, constants and arguments, in this order;
    `shared` are the positions of those that all examples share. `derived` are the
    weights computed with them, and `parts` the values these are computed from, both by
    variable (`_effective_weights`): they count as parameters. `sums` are the products,
    by identity, whose entries are summed, which are synapses too (`_gain_or_synapse`).
    `closed_over` arrays are constants, or data if it is True.
    """

    def __init__(
        self,
        program: Program,
        parameters: int,
        constants: int,
        shared: frozenset[int] = frozenset(),
        derived: frozenset[int] = frozenset(),
        parts: frozenset[int] = frozenset(),
        sums: frozenset[int] = frozenset(),
        axes: VaryingAxes | None = None,
        closed_over: bool = False,
    ) -> None:
        super().__init__(program)
        self.derived, self.parts, self.sums = derived, parts, sums
        self._given = parameters, constants, shared
        self.closed_over = closed_over
        self.axes = VaryingAxes(program) if axes is None else axes
        self.varying: set[int] = set()
        self.priors: set[int] = set()  # marks of parameters alone
        self.modulated: set[int] = set()
        # Leaves that are a weight in a linear operation: an inner step may update them.
        self._met = self.moved_leaves = frozenset[int]()
        self.kind: dict[int, int] = {}
        self.raw: dict[int, frozenset[int]] = {}
        for number in program.constants:
            kind = DATA if closed_over and self.shape(number) else CONSTANT
            self._set(number, kind, frozenset(), kind == DATA)
        for i, number in enumerate(program.body.inputs):
            kind = PARAMETER if i < parameters else DATA
            kind = CONSTANT if parameters <= i < parameters + constants else kind
            leaves = frozenset({i}) if kind == PARAMETER else frozenset[int]()
            self._set(number, kind, leaves, kind == DATA and i not in shared)
        self._body(program.body)
        self.moved_leaves = self._met
        self._body(program.body)

    def knowing(
        self,
        derived: frozenset[int] = frozenset(),
        parts: frozenset[int] = frozenset(),
        sums: frozenset[int] = frozenset(),
    ) -> Flow:
        """The same program, with derived weights, their parts and sums added."""
        if not (derived or parts or sums):
            return self
        more = self.derived | derived, self.parts | parts, self.sums | sums
        return Flow(self.program, *self._given, *more, self.axes, self.closed_over)

    def with_every_array_as_data(self) -> Flow:
        """The same program, if shared and closed-over arrays were examples."""
        first, second, _ = self._given
        return Flow(self.program, first, second, axes=self.axes, closed_over=True)

    def kind_of(self, atom: Atom) -> int:
        """The kind of a value; a literal is constant."""
        return CONSTANT if isinstance(atom, Literal) else self.kind[atom]

    def raw_of(self, atom: Atom) -> frozenset[int]:
        """The leaves that the value depends on without a synapse in between."""
        return frozenset() if isinstance(atom, Literal) else self.raw[atom]

    def raw_into(self, op: Op) -> frozenset[int]:
        """The leaves that the operands depend on without a synapse in between."""
        return frozenset[int]().union(*(self.raw_of(a) for a in op.inputs))

    def leaves_before(self, *atoms: Atom) -> frozenset[int]:
        """All leaves that some values depend on."""
        found, seen = frozenset[int](), set[Atom]()
        stack = list(atoms)
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
        """Whether a value is an activity that is raw in a parameter."""
        return self.is_activity(atom) and bool(self.raw_of(atom))

    def is_weight(self, atom: Atom) -> bool:
        """Whether the value has a second copy if the parameters have one."""
        if isinstance(atom, Literal):
            return False
        return self.kind[atom] == PARAMETER or atom in self.modulated

    def is_derived(self, atom: Atom) -> bool:
        """Whether the value counts as a parameter although computed from arguments."""
        if isinstance(atom, Literal):
            return False
        return atom in self.derived or atom in self.parts

    def weights_among(self, op: Op) -> list[bool]:
        """Which operands are weights; a divisor computed from arguments is not.

        The second copy of such a norm can be near 0 where that of the weight is not.
        """
        found = [self.is_weight(a) for a in op.inputs]
        if op.name == "div":
            divisor = op.inputs[1]
            found[1] &= not (self.is_activity(divisor) or self.is_derived(divisor))
        return found

    def weight_of(self, op: Op) -> int | None:
        """Which operand of a linear operation is its weight; parameters come first."""
        kinds = [self.kind_of(a) for a in op.inputs[:2]]
        made = self.kind[op.outputs[0]] if op.name in SYNAPTIC else PARAMETER
        if made == PARAMETER or not any(k & DATA for k in kinds):
            return None
        if PARAMETER in kinds:
            return kinds.index(PARAMETER)
        modulated = [i for i, a in enumerate(op.inputs[:2]) if self.is_weight(a)]
        if len(modulated) == 1 and kinds[1 - modulated[0]] & DATA:
            return modulated[0]
        return None

    def mixed_operand(self, op: Op) -> int | None:
        """The operand of a product of two activities that is raw in a weight."""
        if op.name not in ("mul", "div") or not all(map(self.is_activity, op.inputs)):
            return None
        mixed = [self.is_mixed(a) and not self.is_weight(a) for a in op.inputs]
        return mixed.index(True) if sum(mixed) == 1 else None

    def scaling_weight(self, op: Op) -> int | None:
        """The operand that is the weight, in an elementwise product."""
        if op.name == "dot_general":
            if op.params["dimension_numbers"][0][0]:
                return None
        elif op.name not in ("mul", "div"):
            return None
        out = op.outputs[0]
        if 0 in self.shape(out) or self.kind[out] == PARAMETER:
            return None
        weights = self.weights_among(op)
        if all(weights):  # a parameter meets a modulated weight
            weights = [self.kind_of(a) == PARAMETER for a in op.inputs]
        if sum(weights) != 1:
            return None
        weight = weights.index(True)
        return weight if self.kind_of(op.inputs[1 - weight]) & DATA else None

    def varies(self, atom: Atom) -> bool:
        """Whether the value depends on an argument that differs between examples."""
        return not isinstance(atom, Literal) and atom in self.varying

    def _set(
        self,
        number: int,
        kind: int,
        raw: frozenset[int],
        varies: bool,
        modulated: bool = False,
    ) -> None:
        if varies:
            self.varying.add(number)
        dtype = self.program.shapes[number].dtype
        if kind == ACTIVITY and not jnp.issubdtype(dtype, jnp.inexact):
            kind, raw = DATA, frozenset()
        if kind == ACTIVITY and self.is_derived(number):
            kind = PARAMETER
        if number in self.parts:  # raw in the weight computed from it
            raw = frozenset()
        is_modulated = modulated and kind == ACTIVITY
        (self.modulated.add if is_modulated else self.modulated.discard)(number)
        self.kind[number], self.raw[number] = kind, raw

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
        if op.name in ("add", "sub") and self._is_spread(op):
            raw = self.raw_into(op)
        if op.name in SYNAPTIC:
            self._met |= self._raw_of_weights(op)
        if op.name == "stop_gradient" and kind == ACTIVITY:
            kind, raw = DATA, frozenset()
        if kind == PARAMETER and marks_node(op):
            kind, varies = ACTIVITY, True
            self.priors.update(op.outputs)
        modulated = kind == ACTIVITY and self._is_modulated(op)
        if modulated:
            raw = self._raw_of_weights(op)
        elif kind == ACTIVITY and (mark_of(op) or self._contracts(op)):
            raw = frozenset()
        for number in op.outputs:
            if self.is_derived(number):
                raw = self._raw_of_weights(op)
            self._set(number, kind, raw, varies, modulated)

    def _is_spread(self, op: Op) -> bool:
        """Whether an activity is broadcast in a sum with a weight."""
        weights = list(map(self.is_weight, op.inputs))
        return sum(weights) == 1 and self.axes.fan_out(op, weights.index(True))

    def _raw_of_weights(self, op: Op) -> frozenset[int]:
        pairs = zip(op.inputs, self.weights_among(op), strict=True)
        return frozenset[int]().union(*(self.raw_of(a) for a, w in pairs if w))

    def _contracts(self, op: Op) -> bool:
        return op.name in SYNAPTIC or holds_synaptic(op) or id(op) in self.sums

    def _is_modulated(self, op: Op) -> bool:
        """Whether the result is linear in a weight, with all other values held."""
        weights = self.weights_among(op)
        if not any(weights) or mark_of(op) or id(op) in self.sums:
            return False
        pairs = zip(op.inputs, weights, strict=True)
        rest = [a for a, w in pairs if not w and self.kind_of(a) & DATA]
        if not any(map(self.varies, rest)):
            linear = op.name in ELEMENTWISE_LINEAR or op.name in LINEAR_SELECTIONS
            moved = op.name in STRUCTURAL and weights[0]
            # A sum of values that vary by example is an activity: the synapse is above
            # it.
            summed = op.name in SUMS or op.name in SYNAPTIC
            return linear or moved or (summed and not any(map(self.varies, op.inputs)))
        if op.name in ("mul", "div"):
            return self.axes.fan_out(op, weights.index(True))
        if op.name in ("add", "sub", "add_any"):  # an inner step of gradient descent
            leaves = self._raw_of_weights(op)
            return sum(weights) == 1 and leaves <= self.moved_leaves
        return False

    def _copy(self, sources: Sequence[Atom], targets: Sequence[int]) -> None:
        for atom, number in zip(sources, targets, strict=True):
            self._set(number, *self._state(atom))

    def _branches(self, op: Op) -> None:
        for body in op.bodies:
            self._copy(op.operands, body.inputs)
            self._body(body)
        for i, number in enumerate(op.outputs):
            kind, raw, varies = self._join([body.outputs[i] for body in op.bodies])
            if op.name == "cond":  # the choice itself carries no derivative
                kind |= self.kind_of(op.inputs[0]) & DATA
                varies |= self.varies(op.inputs[0])
            weights = all(self.is_weight(body.outputs[i]) for body in op.bodies)
            self._set(number, kind, raw, varies, weights)

    def _scan(self, op: Op) -> None:
        (body,), loop = op.bodies, op.loop
        assert loop is not None
        self._copy(op.inputs, body.inputs)
        carried = body.inputs[loop.consts : loop.consts + loop.carry]
        lost: set[int] = set()  # carries that are not a weight at some step
        while True:  # kinds only grow, so this ends
            self._body(body)
            before = [self._state(c) for c in carried]
            for number, out in zip(carried, body.outputs[: loop.carry], strict=True):
                if not (self.is_weight(number) and self.is_weight(out)):
                    lost.add(number)
                self._set(number, *self._join([number, out]), number not in lost)
            if before == [self._state(c) for c in carried]:
                break
        self._copy(body.outputs, op.outputs)

    def _state(self, atom: Atom) -> tuple[int, frozenset[int], bool, bool]:
        modulated = not isinstance(atom, Literal) and atom in self.modulated
        return self.kind_of(atom), self.raw_of(atom), self.varies(atom), modulated
