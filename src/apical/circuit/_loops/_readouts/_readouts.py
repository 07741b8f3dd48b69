"""Leaky read-outs of a loop, and the loop as two: its units, and its read-outs.

A read-out is a carry that only read-outs and the loss read, and that is multiplied by
one factor in each step: a leaky output, or a sum of losses. A filter with one factor
commutes with the synapse before it, so the trace of a synapse, filtered by the same
factor, carries its credit forwards in time (Bellec et al. 2020, equation 4). Within a
window it is exact, and cheaper, to reverse the read-outs as usual: they hold few
numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..._analysis._dataflow import PARAMETER
from ..._jaxpr import Atom, Literal, Op
from .._steps._step import Step, reads

_AFFINE = frozenset(
    {"add", "sub", "add_any", "neg", "convert_element_type", "copy", "copy_p"}
    | {"reshape", "squeeze", "expand_dims", "broadcast_in_dim", "transpose"}
)


@dataclass(frozen=True, eq=False)
class LoopParts:
    """A loop as a loop of its units and, after it, a loop of its read-outs.

    Attributes:
      whole: the step of the loop.
      units: the part of the units; after the outputs `unit_ys` of the loop it returns
        `crossing` values, which the read-outs read.
      readouts: the part of the read-outs; None if there are none.
      unit_carries: the positions of the carries of the units.
      readout_carries: the positions of the carries of the read-outs.
      unit_ys: the positions of the outputs that the units compute.
      readout_ys: the positions of the outputs that the read-outs compute.
    """

    whole: Step
    units: Step
    readouts: Step | None
    unit_carries: tuple[int, ...]
    readout_carries: tuple[int, ...]
    unit_ys: tuple[int, ...]
    readout_ys: tuple[int, ...]

    @property
    def crossing(self) -> int:
        """The number of values that the units hand to the read-outs."""
        return len(self.units.ys) - len(self.unit_ys)


def parts_of(step: Step) -> LoopParts:
    """The units and the read-outs of a loop."""
    found = _readouts(step)
    every = range(len(step.carries))
    if not found:
        ys = tuple(range(len(step.ys)))
        return LoopParts(step, step, None, tuple(every), (), ys, ())
    late = _after(step, {step.carries[i] for i in found})
    unit_ys = [
        j for j, y in enumerate(step.ys) if isinstance(y, Literal) or y not in late
    ]
    readout_ys = [j for j in range(len(step.ys)) if j not in unit_ys]
    unit_carries = [i for i in every if i not in found]
    ends: list[Atom] = [step.carried[i] for i in found]
    ends += [step.ys[j] for j in readout_ys]
    read = [a for op in step.ops if late.intersection(op.outputs) for a in reads(op)]
    read += [a for a in ends if not isinstance(a, Literal)]
    here = {*late, *step.xs}
    crossing = tuple(
        dict.fromkeys(n for n in read if n in step.changing and n not in here)
    )
    return LoopParts(
        whole=step,
        units=step.part(unit_carries, [*(step.ys[j] for j in unit_ys), *crossing]),
        readouts=step.part(found, [step.ys[j] for j in readout_ys], crossing),
        unit_carries=tuple(unit_carries),
        readout_carries=tuple(found),
        unit_ys=tuple(unit_ys),
        readout_ys=tuple(readout_ys),
    )


def only_readouts(step: Step) -> bool:
    """Whether every carry is a read-out, and no synapse in the loop reads one."""
    reached = _after(step, {step.carries[i] for i in step.active})
    if any(_within(s.input, reached) for s in step.synapses):
        return False
    return all(
        is_filter(step, step.carries[i], step.carried[i], readout=True)
        and not _reads_others(step, i)
        for i in step.active
    )


def _reads_others(step: Step, i: int) -> bool:
    others = _after(step, {step.carries[j] for j in step.active if j != i})
    return _within(step.carried[i], others)


def _readouts(step: Step) -> list[int]:
    """The positions of the carries that are read-outs; the units are never empty."""
    found: list[int] = []
    reached = {i: _after(step, {step.carries[i]}) for i in step.active}
    while True:
        rest = [i for i in step.active if i not in found]
        ends = {i: step.carried[i] for i in rest}
        more = [
            i
            for i in rest
            if not any(j != i and a in reached[i] for j, a in _variables(ends))
            and is_filter(step, step.carries[i], step.carried[i], readout=True)
            and not _reads_itself(step, reached[i], step.carried[i])
        ]
        if not more or len(more) == len(rest):
            return sorted(found)
        found += more


def _variables(atoms: dict[int, Atom]) -> Iterator[tuple[int, int]]:
    for i, atom in atoms.items():
        if not isinstance(atom, Literal):
            yield i, atom


def _within(atom: Atom, found: set[int]) -> bool:
    return not isinstance(atom, Literal) and atom in found


def _after(step: Step, starts: set[int]) -> set[int]:
    """Everything that is computed from some variables."""
    found = set(starts)
    for op in step.ops:
        if not found.isdisjoint(reads(op)):
            found.update(op.outputs)
    return found


def _reads_itself(step: Step, reached: set[int], end: Atom) -> bool:
    """Whether a synapse leads from a carry, whose effects are given, back to it."""
    outputs = {s.output for s in step.synapses if _within(s.input, reached)}
    return end in _after(step, outputs)


def is_filter(step: Step, start: int, end: Atom, *, readout: bool = False) -> bool:
    """Whether a value enters another one multiplied by one number, and added to.

    A read-out may also keep its value where data say so (for each example); and it does
    not change itself through `stop_gradient`, as the reset of a spiking neuron does.
    """
    if isinstance(end, Literal):
        return False
    passing = [
        op
        for op in step.ops
        if id(op) not in step.synapse_at and (readout or op.name != "stop_gradient")
    ]
    needed = {end}
    for op in reversed(passing):
        if needed.intersection(op.outputs):
            needed.update(reads(op))
    held = {start}
    for op in passing:
        if held.isdisjoint(reads(op)) or needed.isdisjoint(op.outputs):
            continue
        if not _is_affine(step, op, held, readout):
            return False
        held.update(op.outputs)
    return end in held


def _is_affine(step: Step, op: Op, held: set[int], readout: bool) -> bool:
    """Whether a result is one number times what is held, plus something else."""
    at = [j for j, a in _variables(dict(enumerate(op.inputs))) if a in held]
    if op.name in _AFFINE:
        return True
    if op.name == "select_n":
        return readout and 0 not in at and not step.learns(op.inputs[0])
    if op.name == "mul" and len(at) == 1:
        return _is_one_number(step, op.inputs[1 - at[0]])
    return op.name == "div" and at == [0] and _is_one_number(step, op.inputs[1])


def _is_one_number(step: Step, atom: Atom) -> bool:
    """Whether a value is one number, repeated, that no activity changes."""
    if isinstance(atom, Literal):
        return atom.value.size == 1
    kind = step.flow.kind[atom]
    activity = kind & PARAMETER and atom in step.changing
    return not activity and not step.flow.axes.of(atom)
