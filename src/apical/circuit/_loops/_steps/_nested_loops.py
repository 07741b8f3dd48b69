"""A scan, or scans nested in each other, as one loop.

Where the body of a scan is another scan that takes over its carry, slices its inputs
and returns its outputs (a loop over windows, often with checkpoints), both are one loop
over all steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..._analysis._dataflow import Flow
from ..._analysis._graph import bound
from ..._analysis._synapses import WeightedOp
from ..._evaluate._interpreter import Runner, Scope
from ..._jaxpr import Atom, Body, Literal, Op
from ..._structure import Structure
from ._indexed_inputs import IndexedInputs, indexed_inputs
from ._loop_values import hoisted
from ._step import Step, step_of


@dataclass(frozen=True, eq=False)
class NestedLoop:
    """Scans in each other as one loop; usually a single scan.

    Attributes:
      ops: the scans, from the outside.
      steps: a step of each of them.
      carries: for each carry of the innermost step, its position among the carries of
        the outermost scan.
      xs: for each input of the innermost step, its position among those of that scan.
      ys: for each output of that scan, its position among those of the innermost step.
    """

    ops: tuple[Op, ...]
    steps: tuple[Step, ...]
    carries: tuple[int, ...]
    xs: tuple[int, ...]
    ys: tuple[int, ...]

    @property
    def op(self) -> Op:
        """The outermost scan."""
        return self.ops[0]

    @property
    def step(self) -> Step:
        """The innermost step."""
        return self.steps[-1]

    @cached_property
    def indexed(self) -> IndexedInputs:
        """The innermost step, with what it picks by a counter as further inputs."""
        return indexed_inputs(self.step)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of steps of each scan."""
        return tuple(op.loop.length for op in self.ops if op.loop is not None)

    @property
    def length(self) -> int:
        """The number of steps of the innermost scan, in all."""
        return math.prod(self.lengths)

    @property
    def reverse(self) -> bool:
        """Whether the steps run from the last input to the first."""
        assert self.op.loop is not None
        return self.op.loop.reverse

    @property
    def unroll(self) -> int | bool:
        """As in `lax.scan`, of the innermost scan."""
        innermost = self.ops[-1].loop
        assert innermost is not None
        return innermost.unroll

    def fixed(self, runner: Runner, scope: Scope) -> Scope:
        """The values that are the same at every step, of all scans."""
        for op, step in zip(self.ops, self.steps, strict=True):
            scope = hoisted(runner, op, step, scope)
        return scope

    def given(self, scope: Scope) -> tuple[list[Any], list[Any]]:
        """The first carry, and the inputs of all steps, of the innermost step."""
        loop = self.op.loop
        assert loop is not None
        values = [scope.read(a) for a in self.op.inputs]
        starts, xs = values[loop.consts :][: loop.carry], values[loop.consts :]
        xs, depth = xs[loop.carry :], len(self.ops)
        flat = [xs[i] for i in self.xs]
        if depth > 1:
            flat = [x.reshape(self.length, *x.shape[depth:]) for x in flat]
        return [starts[p] for p in self.carries], flat

    def flat(self, injected: Mapping[str, Any]) -> dict[str, Any]:
        """Values with the lengths of all scans in front, as those of all steps."""
        depth = len(self.ops)
        return {
            name: x if depth == 1 else x.reshape(self.length, *x.shape[depth:])
            for name, x in injected.items()
        }

    def unflat(self, sites: Mapping[str, Any]) -> dict[str, Any]:
        """Values of all steps, with the lengths of all scans in front."""
        if len(self.ops) == 1:
            return dict(sites)
        return {n: x.reshape(*self.lengths, *x.shape[1:]) for n, x in sites.items()}

    def returned(self, scope: Scope, last: Sequence[Any], ys: Sequence[Any]) -> Any:
        """The outputs of the outermost scan."""
        loop = self.op.loop
        assert loop is not None
        starts = [scope.read(a) for a in self.op.inputs[loop.consts :][: loop.carry]]
        ends = dict(zip(self.carries, last, strict=True))
        outs = [ys[j] for j in self.ys]
        if len(self.ops) > 1:
            outs = [y.reshape(*self.lengths, *y.shape[1:]) for y in outs]
        return [*(ends.get(p, start) for p, start in enumerate(starts)), *outs]

    def outer(self, number: int) -> Atom:
        """What an input of the innermost step is sliced from, in the program."""
        if number in self.indexed.source_of:
            return _outermost(self.step.flow, self.indexed.source_of[number])
        loop = self.op.loop
        assert loop is not None
        position = self.xs[self.step.xs.index(number)]
        return self.op.inputs[loop.consts + loop.carry + position]

    def start(self, i: int) -> Atom:
        """What a carry of the innermost step starts from, in the program."""
        loop = self.op.loop
        assert loop is not None
        return self.op.inputs[loop.consts + self.carries[i]]


def _outermost(flow: Flow, atom: Atom) -> Atom:
    """What a value is that bodies receive, and do not change, outside of them."""
    while not isinstance(atom, Literal) and atom in flow.entry:
        atom = bound(*flow.entry[atom])[0]
    return atom


def loops_with_states(structure: Structure) -> Iterator[tuple[NestedLoop, bool]]:
    """The loops whose carry depends on parameters, without those in their steps.

    Beside each: whether no other loop, branch or checkpoint is around it.
    """

    def visit(body: Body, outermost: bool) -> Iterator[tuple[NestedLoop, bool]]:
        for op in body.ops:
            if op.loop is not None and structure.live.intersection(op.outputs):
                loop = nested_loop(structure.flow, structure.weighted_ops, op)
                if loop.step.active:
                    yield loop, outermost
                    continue
            if op.enterable:
                for inner in op.bodies:
                    yield from visit(inner, outermost=False)

    yield from visit(structure.flow.program.body, outermost=True)


def nested_loop(flow: Flow, found: Sequence[WeightedOp], op: Op) -> NestedLoop:
    """A scan, with the scan that its body consists of, if it does."""
    step = step_of(flow, found, op)
    below = _below(flow, found, step)
    if below is None:
        ys = tuple(range(len(step.ys)))
        xs = tuple(range(len(step.xs)))
        return NestedLoop((op,), (step,), step.positions, xs, ys)
    inner, loop = below.op, below.op.loop
    assert loop is not None
    starts = inner.inputs[loop.consts :][: loop.carry]
    inputs = inner.inputs[loop.consts + loop.carry :]
    outputs = inner.outputs[loop.carry :]
    at = [step.positions[step.carries.index(a)] for a in _variables(starts)]
    sliced = [step.xs.index(a) for a in _variables(inputs)]
    return NestedLoop(
        (op, *below.ops),
        (step, *below.steps),
        tuple(at[p] for p in below.carries),
        tuple(sliced[j] for j in below.xs),
        tuple(below.ys[outputs.index(y)] for y in _variables(step.ys)),
    )


def _below(flow: Flow, found: Sequence[WeightedOp], step: Step) -> NestedLoop | None:
    """The scan that a step consists of; None if it does something else."""
    if len(step.ops) != 1 or step.ops[0].loop is None:
        return None
    (op,) = step.ops
    loop = op.loop
    assert loop is not None
    consts, starts = op.inputs[: loop.consts], op.inputs[loop.consts :][: loop.carry]
    inputs = op.inputs[loop.consts + loop.carry :]
    ends = dict(zip(step.carries, step.carried, strict=True))
    plain = (
        step.changing.isdisjoint(_variables(consts))
        and set(_variables(starts)) == set(step.carries)
        and len(starts) == len(step.carries)
        and [ends[a] for a in _variables(starts)] == list(op.outputs[: loop.carry])
        and all(not isinstance(a, Literal) and a in step.xs for a in inputs)
        and all(not isinstance(y, Literal) and y in op.outputs for y in step.ys)
    )
    if not plain:
        return None
    below = nested_loop(flow, found, op)
    return below if len(below.carries) == loop.carry else None


def _variables(atoms: Sequence[Atom]) -> list[int]:
    return [a for a in atoms if not isinstance(a, Literal)]
