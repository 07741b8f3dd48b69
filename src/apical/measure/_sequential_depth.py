"""Sequential depth: the longest chain of dependent heavy operations.

    depth(result) = max over operands of depth(operand) + (1 if heavy, else 0)

A matrix product, a convolution or a solver is heavy. The depth is a property of the
computation: no number of processors reduces it.

A program is a matrix over (max, +): its entry (i, j) is the longest chain from input j
to output i, or minus infinity if there is none. The matrix of a composition is the
product, so T steps of a loop are a power of one step's matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..circuit import Atom, Body, Literal, Op, Program
from ._flops import HEAVY, NotKnown, called, holds_heavy


def sequential_depth(program: Program) -> int | None:
    """The longest chain of heavy operations that ends in an output.

    Args:
      program: a traced function.

    Returns:
      The number of operations. The steps of a loop count one after the other if a heavy
      result is carried, else in parallel; its stacked outputs are available after the
      last step. Of the branches of a `cond` the longest counts. None if a `while_loop`,
      or an unknown operation, contains a heavy one.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> from apical.circuit import trace_program
      >>> w = jnp.ones((2, 2))
      >>> program, _ = trace_program(lambda w: jnp.tanh(w @ w) @ w, w)
      >>> apical.measure.sequential_depth(program)
      2
    """
    try:
        return int(np.max(_chains(program.body), initial=0))
    except NotKnown:
        return None


def _chains(body: Body) -> np.ndarray:
    """The longest chain to each output, from each input and (last column) from none."""
    unit = _identity(len(body.inputs) + 1)
    found = dict(zip(body.inputs, unit, strict=False))

    def read(atoms: Sequence[Atom]) -> np.ndarray:
        # A constant depends on no input and is available from the start.
        none = unit[-1]
        rows = [none if isinstance(a, Literal) else found.get(a, none) for a in atoms]
        return np.array(rows).reshape(len(atoms), len(unit))

    for op in body.ops:
        before = np.vstack([read(op.inputs), unit[-1:]])
        found.update(zip(op.outputs, _after(_chains_of(op), before), strict=True))
    return np.maximum(read(body.outputs), unit[-1])


def _chains_of(op: Op) -> np.ndarray:
    """The matrix of one operation."""
    if op.name in HEAVY or not holds_heavy(op):
        cost = float(op.name in HEAVY)
        return np.full((len(op.outputs), len(op.inputs) + 1), cost)
    if op.name == "scan":
        return _loop(op)
    if op.name == "cond":
        branches = np.max([_chains(body) for body in op.bodies], axis=0)
        # Every branch waits for the index that chooses it.
        index = np.max(branches, axis=1, keepdims=True)
        return np.hstack([index, branches])
    return _chains(called(op))


def _loop(op: Op) -> np.ndarray:
    """The matrix of all steps of a scan, as a power of that of one step."""
    loop, step = op.loop, _chains(op.bodies[0])
    assert loop is not None
    carries = slice(loop.consts, loop.consts + loop.carry)
    advance = _identity(len(op.inputs) + 1)
    advance[carries] = step[: loop.carry]
    # Stacked outputs come from every step, so a carry may also stay unchanged.
    some_steps = _power(np.maximum(advance, _identity(len(advance))), loop.length - 1)
    stacked = _after(step[loop.carry :], some_steps)
    return np.vstack([_power(advance, loop.length)[carries], stacked])


def _identity(size: int) -> np.ndarray:
    return np.where(np.eye(size, dtype=bool), 0.0, -np.inf)


def _after(later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """The product of two matrices over (max, +)."""
    # Row by row, because memory would grow with the cube of the number of parameters.
    rows = [np.max(row[:, None] + earlier, axis=0) for row in later]
    return np.array(rows).reshape(len(later), earlier.shape[1])


def _power(matrix: np.ndarray, exponent: int) -> np.ndarray:
    result = _identity(len(matrix))
    while exponent > 0:
        if exponent % 2:
            result = _after(matrix, result)
        matrix, exponent = _after(matrix, matrix), exponent // 2
    return result
