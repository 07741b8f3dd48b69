"""The arrays that a program closes over, and the program that reads them as inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ._jaxpr import Atom, Body, Literal, Program, is_concrete

Groups = tuple[tuple[int, ...], ...]
# By program: whether constants are equal is found out once, on the host.
_FOUND: WeakKeyDictionary[Program, Groups] = WeakKeyDictionary()


def constant_arrays(program: Program) -> Groups:
    """The constants that operations outside of bodies read, equal ones together."""
    if program not in _FOUND:
        _FOUND[program] = _equal_together(program)
    return _FOUND[program]


def _equal_together(program: Program) -> Groups:
    read = {a for op in program.body.ops for a in op.inputs if isinstance(a, int)}
    found: list[list[int]] = []
    for number in (n for n in program.constants if n in read):
        value = program.constants[number]
        for group in found:
            if _is_same(program.constants[group[0]], value):
                group.append(number)
                break
        else:
            found.append([number])
    return tuple(map(tuple, found))


def reading(program: Program, inputs: Mapping[int, int]) -> Program:
    """The program that reads these constants (keys) from inputs (values)."""

    def of(atoms: Sequence[Atom]) -> tuple[Atom, ...]:
        return tuple(a if isinstance(a, Literal) else inputs.get(a, a) for a in atoms)

    ops = [replace(op, inputs=of(op.inputs)) for op in program.body.ops]
    body = Body(program.body.inputs, of(program.body.outputs), tuple(ops))
    kept = {n: c for n, c in program.constants.items() if n not in inputs}
    return Program(body, kept, program.shapes)


def _is_same(first: Any, second: Any) -> bool:
    """Whether two constants are the same array, or have equal entries."""
    if first is second or not is_concrete((first, second)):
        return first is second
    return (
        first.dtype == second.dtype
        and first.shape == second.shape
        and np.array_equal(first, second)
    )
