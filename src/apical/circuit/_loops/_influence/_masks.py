"""The units of a loop that each parameter reaches within some steps.

    reached_1 = I,      reached_k = reached_{k-1} or D reached_{k-1}

I tells which units' states depend on which parameters within one step, and D on which
units' states before it. The units are as for eligibility traces; those that depend on
each other within a step, other than by synapses, are one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._jaxpr import Op
from ..._structure import Structure
from .._rank_one._rank_one_loops import StateLoop
from .._readouts._readouts import LoopParts, parts_of
from .._steps._nested_loops import NestedLoop
from .._units._unit_search import joined_units
from ._dependence import Dependence, any_of, identity, indicator


class InfluenceError(ValueError):
    """A loop whose influence by steps is not defined here."""


@dataclass(frozen=True, eq=False)
class Mask:
    """The influence that is kept in a loop.

    Attributes:
      scans: the scan, or scans in each other.
      units: for each variable of a unit, the unit of each entry.
      kept: `[units + 1, parameters]`, whether the parameter's influence on the unit is
        kept; the last row, of no unit, is True.
      everything: whether what is kept is all that any number of steps would keep.
    """

    scans: NestedLoop
    units: Mapping[int, np.ndarray]
    kept: np.ndarray
    everything: bool


def mask_bytes(structure: Structure, loops: Sequence[StateLoop]) -> int:
    """The bytes of the masks of some loops, if each state is a unit."""
    states = (
        math.prod(loop.plain.step.shape(n)) + 1
        for loop in loops
        for n in (loop.plain.step.carries[i] for i in loop.plain.step.active)
    )
    return sum(states) * _columns(structure)[1]


def find_masks(
    structure: Structure, loops: Sequence[StateLoop], order: int
) -> tuple[Mask, ...]:
    """The mask of each loop.

    Args:
      structure: the structure of the loss function.
      loops: its loops.
      order: the number of steps within which a parameter reaches what is kept.

    Raises:
      InfluenceError: if a loop reads what another one computes, or if the loss function
        closes over values that are not known.
    """
    program = structure.flow.program
    if program.closes_over_tracers:
        raise InfluenceError(
            "Which weights exist is read from the constants of the loss function, and "
            "it closes over an array that is traced. Close over a NumPy array, or pass "
            "it as an argument (its zeros then count as weights)."
        )
    starts, count = _columns(structure)
    found: dict[int, Mask] = {}
    at = {id(loop.scans.op): loop for loop in loops}

    def visit(seen: Dependence, op: Op) -> bool:
        if id(op) not in at:
            return False
        scans = at[id(op)].scans
        found[id(op)] = _mask(seen, scans, count, order)
        for number in op.outputs:  # of a state of a loop
            seen.zeros.forget(number)
            seen.set(number, any_of(seen.size(number), count, count + 1))
        return True

    # One more column: what a loop computes.
    outer = Dependence(program, count + 1, visit)
    learned = program.body.inputs[: len(structure.leaves.learned)]
    for number, first in zip(learned, starts, strict=True):
        size = outer.size(number)
        rows = identity(size, first, count + 1)
        if jnp.issubdtype(program.shapes[number].dtype, jnp.complexfloating):
            rows = rows + identity(size, first + size, count + 1)
        outer.set(number, rows)
    with jax.ensure_compile_time_eval():
        outer.run(program.body.ops)
    return tuple(found[id(loop.scans.op)] for loop in loops)


def _columns(structure: Structure) -> tuple[list[int], int]:
    """The first column of each learned leaf, and the number of all.

    A complex parameter has two: its real parts, then its imaginary parts.
    """
    program = structure.flow.program
    shapes = [
        program.shapes[n] for n in program.body.inputs[: len(structure.leaves.learned)]
    ]
    sizes = [
        s.size * (2 if jnp.issubdtype(s.dtype, jnp.complexfloating) else 1)
        for s in shapes
    ]
    ends = np.cumsum([0, *sizes])
    return [int(x) for x in ends[:-1]], int(ends[-1])


def _mask(seen: Dependence, scans: NestedLoop, count: int, order: int) -> Mask:
    parts, start = parts_of(scans.step), {}
    units, total = _numbered(parts)
    for i, number in zip(parts.unit_carries, parts.units.carries, strict=True):
        start[number] = seen.of(scans.start(i))
    _enter(seen, scans)
    step = parts.units
    numbers = [step.carries[i] for i in step.active]
    states = sum(map(seen.size, numbers))
    # The states before the step, then the parameters and what other loops compute.
    within, first = seen.another(states + count + 1), 0
    for n in step.fixed:
        within.set(n, _shifted(seen.of(n), states))
    for n in step.xs:
        within.set(n, _shifted(seen.of(n), states))
    for n in numbers:
        size = seen.size(n)
        within.set(n, identity(size, first, states + count + 1))
        first += size
    within.run(step.ops)
    through, immediate = _of_units(step, within, units, total, states)
    for n in numbers:  # a first state that depends on parameters
        if start[n] is not None:
            immediate = immediate + _grouped(units[n], total, start[n])
    if immediate[:, count].nnz:
        raise InfluenceError(
            f"The loop at {scans.op.where} reads what another loop computes, so that "
            "its steps and those of the other are not the same steps. Let one "
            "`jax.lax.scan` run over the layers of both within each step."
        )
    reached = immediate[:, :count]
    steps = [reached]
    while len(steps) <= order and (len(steps) < 2 or steps[-1].nnz > steps[-2].nnz):
        steps.append(steps[-1] + through @ steps[-1])
    kept, after = steps[min(order, len(steps)) - 1], steps[-1]
    table = np.ones((total + 1, count), bool)
    table[:total] = kept.toarray()
    return Mask(scans, units, table, kept.nnz == after.nnz)


def _numbered(parts: LoopParts) -> tuple[dict[int, np.ndarray], int]:
    """The unit of each entry of the variables of units, and the number of units."""
    step = parts.units
    labels = joined_units(step)
    states = [labels[step.carries[i]].ravel() for i in step.active]
    found = np.unique(np.concatenate(states))
    total = len(found)

    def numbered(x: np.ndarray) -> np.ndarray:
        at = np.minimum(np.searchsorted(found, x), total - 1)
        return np.where(found[at] == x, at, total)

    return {n: numbered(x) for n, x in labels.items()}, total


def _enter(seen: Dependence, scans: NestedLoop) -> None:
    """Follow what is the same at every step, and the inputs, to the innermost step."""
    for op, step in zip(scans.ops, scans.steps, strict=True):
        (body,), loop = op.bodies, op.loop
        assert loop is not None
        first = loop.consts + loop.carry
        moving = {loop.consts + p for p in step.positions}
        for k, (number, atom) in enumerate(zip(body.inputs, op.inputs, strict=True)):
            if k >= first:
                seen.slices(number, atom, loop.length)
            elif k not in moving:
                seen.bind([number], [atom])
            else:
                seen.set(number, None)
                seen.zeros.forget(number)
        seen.run(step.hoisted)


def _shifted(rows: Any, by: int) -> Any:
    """The same dependence, on columns that come after others."""
    from scipy.sparse import csr_matrix, hstack

    if rows is None:
        return None
    return hstack([csr_matrix((rows.shape[0], by), dtype=bool), rows]).tocsr()


def _of_units(
    step: Any, within: Dependence, units: Any, total: int, states: int
) -> tuple[Any, Any]:
    """The units that depend on each unit before the step, and on each parameter."""
    from scipy.sparse import csr_matrix

    found = csr_matrix((total, within.columns), dtype=bool)
    for i in step.active:
        rows = within.of(step.carried[i])
        if rows is not None:
            found = found + _grouped(units[step.carries[i]], total, rows)
    before = np.concatenate([units[step.carries[i]].ravel() for i in step.active])
    through = _grouped(before, total, found[:, :states].T.tocsr()).T.tocsr()
    return through, found[:, states:]


def _grouped(units: np.ndarray, total: int, rows: Any) -> Any:
    """The rows of entries, joined by unit."""
    return indicator(units.ravel(), total).T @ rows
