"""Derived weights (computed with arguments that all examples share), and frozen arrays.

A mask or a frozen base weight may be an argument; spectral normalisation divides a
weight by a norm that it estimates with a vector in an argument (Miyato et al. 2018); an
inner step of gradient descent updates a weight by its gradient on a support set (Finn
et al. 2017). The result is a weight for everything that differs between examples. So:

* a *derived weight* is a parameter (or a derived weight) combined, entry by entry, with
  values that all examples share: data, or a value that depends on this parameter. No
  axis is added, and values that differ between examples read it as a weight;
* a value from which a derived weight is computed, and that nothing else reads, is a
  part of it.

Both count as parameters. All other values are activities, even if all examples share
them (position embeddings, features of a graph).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from .._jaxpr import Atom, Body, Literal, Op, Program, is_concrete
from .._marks import mark_of
from .._program_constants import constant_arrays
from ._dataflow import ACTIVITY, CONSTANT, DATA, PARAMETER, Flow
from ._graph import walk
from ._primitives import STRUCTURAL, SYNAPTIC, is_elementwise


def shared_weights(flow: Flow) -> tuple[frozenset[int], frozenset[int]]:
    """The derived weights of a program and the parts they are computed from."""
    shared = {n for n in flow.live if _is_shared_activity(flow, n)}
    if not shared:
        return frozenset(), frozenset()
    derived = _Derived(flow, shared).found
    # The largest consistent set: drop values that are read in other ways, until none
    # is.
    parts = shared - derived
    while True:
        kept = derived | parts
        wrong = {n for n in kept if not _is_read_well(flow, n, kept, derived)}
        if not wrong:
            return frozenset(derived), frozenset(parts)
        derived, parts = derived - wrong, parts - wrong


def _is_shared_activity(flow: Flow, number: int) -> bool:
    return flow.kind[number] == ACTIVITY and not flow.varies(number)


class _Derived:
    """Candidates for derived weights, by what they are computed from."""

    def __init__(self, flow: Flow, shared: set[int]) -> None:
        self.flow, self.shared = flow, shared
        self.found: set[int] = set()
        self.leaves: dict[int, int] = {}  # leaves a value depends on, as bits
        for i, number in enumerate(flow.program.body.inputs):
            self.leaves[number] = 1 << i if flow.kind[number] == PARAMETER else 0
        self._body(flow.program.body)

    def _is_weight(self, atom: Atom) -> bool:
        if isinstance(atom, Literal):
            return False
        return self.flow.kind[atom] == PARAMETER or atom in self.found

    def _leaves_of(self, atom: Atom) -> int:
        return 0 if isinstance(atom, Literal) else self.leaves.get(atom, 0)

    def _set(self, number: int, leaves: int, is_weight: bool) -> None:
        self.leaves[number] = leaves
        found = is_weight and number in self.shared
        (self.found.add if found else self.found.discard)(number)

    def _body(self, body: Body) -> None:
        for op in body.ops:
            if op.enterable:
                self._enter(op)
                continue
            leaves, is_weight = 0, self._derives(op)
            for atom in op.inputs:
                leaves |= self._leaves_of(atom)
            for number in op.outputs:
                self._set(number, leaves, is_weight)

    def _enter(self, op: Op) -> None:
        lost: set[int] = set()  # carries that are no weight at some step
        while True:
            for body in op.bodies:
                for i, (atom, n) in enumerate(
                    zip(op.operands, body.inputs, strict=True)
                ):
                    leaves = self._leaves_of(atom)
                    if op.loop is not None and op.loop.carries(i):
                        leaves |= self._leaves_of(body.outputs[i - op.loop.consts])
                    self._set(n, leaves, self._is_weight(atom) and i not in lost)
                self._body(body)
            new = self._lost(op, lost)
            if not new and op.loop is None:
                break
            settled = all(
                self._leaves_of(out) | self.leaves[n] == self.leaves[n]
                for n, out in _carries(op)
            )
            if not new and settled:
                break
            lost |= new
        for i, number in enumerate(op.outputs):
            outs = [body.outputs[i] for body in op.bodies]
            leaves = 0
            for atom in outs:
                leaves |= self._leaves_of(atom)
            self._set(number, leaves, all(map(self._is_weight, outs)))

    def _lost(self, op: Op, lost: set[int]) -> set[int]:
        if op.loop is None:
            return set()
        (body,) = op.bodies
        return {
            i
            for i, number in enumerate(body.inputs)
            if i not in lost
            and op.loop.carries(i)
            and self._is_weight(number)
            and not self._is_weight(body.outputs[i - op.loop.consts])
        }

    def _derives(self, op: Op) -> bool:
        """Whether an operation computes a weight from a weight."""
        weights = [a for a in op.inputs if self._is_weight(a)]
        if not weights or mark_of(op):
            return False
        if op.name in STRUCTURAL:
            return self._is_weight(op.inputs[0])
        flow = self.flow
        met = [
            a
            for a in op.inputs
            if a not in weights and flow.kind_of(a) not in (CONSTANT, PARAMETER)
        ]
        if not met:
            return op.name not in SYNAPTIC
        if not is_elementwise(op):
            return False
        axes = flow.axes.of(op.outputs[0])
        own = 0
        for atom in weights:
            if axes <= flow.axes.of(atom):
                own |= self._leaves_of(atom)
        return own != 0 and all(
            flow.kind_of(a) == DATA or self._leaves_of(a) & own for a in met
        )


def _carries(op: Op) -> Iterator[tuple[int, Atom]]:
    if op.loop is not None:
        (body,), first = op.bodies, op.loop.consts
        numbers = body.inputs[first : first + op.loop.carry]
        yield from zip(numbers, body.outputs, strict=False)


def _is_read_well(flow: Flow, number: int, kept: set[int], derived: set[int]) -> bool:
    """Whether a value is read as a weight, or only to compute one."""

    def fits(made: int) -> bool:
        if made not in flow.live or flow.kind[made] != ACTIVITY or made in kept:
            return True
        return number in derived and flow.varies(made)

    is_loss = number == flow.program.body.outputs[0]
    return not is_loss and all(map(fits, flow.after(number)))


# ---- Arrays that act as weights but are not learned, so that they have no feedback.
#
# A frozen network that is an argument with `batch_axes=None`, or closed over, is data
# to the circuit. In a matrix product or convolution of an activity with it, the signal
# passes back through its true transpose, under every rule. An adjacency matrix is used
# in the same way: only the caller can distinguish the two.

# The kinds of the operands of a product of an activity and an array not learned.
NOT_LEARNED = ([DATA, ACTIVITY], [CONSTANT, ACTIVITY])
# In place of the position of an argument: what the loss function closes over.
CONSTANTS = "constants"


class Frozen(NamedTuple):
    """An array that all examples share, and an operation in which it is a weight.

    Attributes:
      array: the array, as worded in messages.
      operation: the operation.
      where: its line.
      path: of the array among the arguments, as `"0.w"`, or among the constants that
        the loss function closes over, as `"constants.0"`; None for a constant that a
        body holds, or that an outer transformation traces.
    """

    array: str
    operation: str
    where: str
    path: str | None

    def __str__(self) -> str:
        return f"{self.array} in `{self.operation}` at {self.where}"


def frozen(flow: Flow, paths: Sequence[str], live: set[int]) -> tuple[Frozen, ...]:
    """The arrays, shared by all examples, that act on an activity as a weight.

    Args:
      flow: the dataflow of the loss function.
      paths: the paths of the arrays among the arguments, in the order of the program's
        inputs.
      live: the variables from which the loss is reached.
    """
    program = flow.program
    given = program.body.inputs[len(program.body.inputs) - len(paths) :]
    at: dict[int, str | None] = dict.fromkeys(program.constants)
    at |= constant_paths(program)
    at |= dict(zip(given, paths, strict=True))
    found: dict[Frozen, None] = {}
    for site in walk(flow.program.body):
        op, pair = site.op, site.op.inputs[:2]
        kinds = sorted(map(flow.kind_of, pair))
        if op.name not in SYNAPTIC or kinds not in NOT_LEARNED:
            continue
        (weight,) = (a for a in pair if flow.kind_of(a) != ACTIVITY)
        if flow.varies(weight) or not live.intersection(op.outputs):
            continue
        for number in _sources(flow, weight):
            if number in at and _is_real(flow, number):
                path = at[number]
                found[Frozen(_in_words(path), op.name, op.where, path)] = None
    return tuple(found)


def constant_paths(program: Program) -> dict[int, str]:
    """The path of each constant that an input can replace: equal arrays share one."""
    return {
        number: f"{CONSTANTS}.{i}"
        for i, numbers in enumerate(constant_arrays(program))
        for number in numbers
        if is_concrete(program.constants[number])
    }


def products_of(
    flow: Flow, synapses: set[int], live: set[int], kinds: Sequence[list[int]]
) -> tuple[str, ...]:
    """Products of two operands of one of these kinds, except synapses."""
    return tuple(
        f"`{op.name}` at {op.where}"
        for op in (site.op for site in walk(flow.program.body))
        if op.name in SYNAPTIC
        and id(op) not in synapses
        and live.intersection(op.outputs)
        and sorted(map(flow.kind_of, op.inputs[:2])) in kinds
    )


def _sources(flow: Flow, atom: Atom) -> list[int]:
    """The inputs of the program that a value is computed from."""
    found, seen, stack = list[int](), set[Atom](), [atom]
    while stack:
        atom = stack.pop()
        if isinstance(atom, Literal) or atom in seen:
            continue
        seen.add(atom)
        if atom in flow.entry:
            op, _, i = flow.entry[atom]
            stack.append(op.operands[i])
        elif atom in flow.maker:
            stack += flow.maker[atom][0].inputs
        else:
            found.append(atom)
    return found


def _is_real(flow: Flow, number: int) -> bool:
    return jnp.issubdtype(flow.program.shapes[number].dtype, jnp.inexact)


def _in_words(path: str | None) -> str:
    """The leaf `1.w` of the arguments, as worded in messages."""
    position, _, rest = (CONSTANTS if path is None else path).partition(".")
    if position == CONSTANTS:
        return "what the loss function closes over"
    return f"argument {position}" + (f" ({rest!r})" if rest else "")
