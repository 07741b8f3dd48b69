"""The floating-point operations of matrix products and convolutions.

    flops = 2 x (entries of the result) x (products summed in each)

XLA counts the body of a loop once, regardless of the number of steps, so a rule that
relaxes for a hundred steps looks as cheap as one with a single step. This count
includes every step. Like XLA it ignores unused operations, and hoists loop-invariant
ones out of loops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..circuit import LINEAR_NOT_REWRITTEN, SYNAPTIC, Body, Literal, Op, Program

# ---- Heavy operations: matrix products, convolutions, solvers.

HEAVY = (
    SYNAPTIC
    | LINEAR_NOT_REWRITTEN
    | {"cholesky", "eig", "eigh", "fft", "householder_product", "lu", "qr", "schur"}
    | {"svd", "tridiagonal"}
)
# Calls whose body has the same inputs and outputs as the operation.
CALLS = frozenset({"custom_jvp_call", "custom_vjp_call", "remat"})


class NotKnown(Exception):
    """Raised if the number of runs, or the work, of a heavy operation is unknown."""


def holds_heavy(op: Op) -> bool:
    """Whether an operation is heavy or contains a heavy one, at any depth."""
    inner = (o for body in op.bodies for o in body.ops)
    return op.name in HEAVY or any(holds_heavy(o) for o in inner)


def body_of_call(op: Op) -> Body | None:
    """The body of an operation that calls a function (not a loop or a `cond`)."""
    if op.name in CALLS and len(op.bodies) == 1:
        (body,) = op.bodies
        if len(body.inputs) == len(op.inputs):
            return body
    return None


def called(op: Op) -> Body:
    """The same, where it must be known."""
    body = body_of_call(op)
    if body is None:
        raise NotKnown(op.name)
    return body


Shape = tuple[int, ...]
Work = dict[Op, int]  # the products of each operation


def product_flops(program: Program) -> int | None:
    """Floating-point operations of the products that the outputs need.

    Args:
      program: a traced function.

    Returns:
      The number of operations; a multiply-add counts as two. Of the branches of a
      `cond` the most expensive counts. None if the number of runs of a product
      (`while_loop`) or the work of a heavy operation (a solver) is unknown.
    """
    wanted = [True] * len(program.body.outputs)
    try:
        return 2 * sum(_Products(program).of_body(program.body, wanted)[1].values())
    except NotKnown:
        return None


class _Products:
    """Backward walk from the used outputs: the inputs they need, and the products."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def of_body(self, body: Body, wanted: Sequence[bool]) -> tuple[list[bool], Work]:
        outputs = zip(body.outputs, wanted, strict=True)
        needed = {a for a, w in outputs if w and not isinstance(a, Literal)}
        work: Work = {}
        for op in reversed(body.ops):
            results = [number in needed for number in op.outputs]
            if any(results):
                used, work[op] = self.of_op(op, results)
                inputs = zip(op.inputs, used, strict=True)
                needed |= {a for a, u in inputs if u and not isinstance(a, Literal)}
        return [number in needed for number in body.inputs], work

    def of_op(self, op: Op, wanted: list[bool]) -> tuple[list[bool], int]:
        everything = [True] * len(op.inputs)
        if not holds_heavy(op):
            return everything, 0
        if op.name in SYNAPTIC:
            return everything, self.products(op)
        if op.name in HEAVY:
            raise NotKnown(op.name)
        if op.name == "scan":
            return self.of_loop(op, wanted)
        if op.name == "cond":
            branches = [self.of_body(body, wanted)[1] for body in op.bodies]
            return everything, max(sum(work.values()) for work in branches)
        used, work = self.of_body(called(op), wanted)
        return used, sum(work.values())

    def of_loop(self, op: Op, wanted: list[bool]) -> tuple[list[bool], int]:
        loop, (body,) = op.loop, op.bodies
        assert loop is not None
        while True:  # a carry that a step reads must be computed by the step before
            used, work = self.of_body(body, wanted)
            carried = used[loop.consts : loop.consts + loop.carry]
            both = zip(wanted[: loop.carry], carried, strict=True)
            more = [w or c for w, c in both] + wanted[loop.carry :]
            if more == wanted:
                break
            wanted = more
        still = _still(body, loop.consts)
        return used, sum(
            n * (1 if o in still else loop.length) for o, n in work.items()
        )

    def products(self, op: Op) -> int:
        left, right = map(self.program.shape, op.inputs)
        result = self.program.shape(op.outputs[0])
        if op.name == "conv_general_dilated":
            return _convolution(op, left, right, result)
        (summed, _), _ = op.params["dimension_numbers"]
        return math.prod(result) * math.prod(left[axis] for axis in summed)


def _still(body: Body, consts: int) -> set[Op]:
    """The operations of a loop whose operands are the same at every step."""
    moving, still = set(body.inputs[consts:]), set()
    for op in body.ops:
        if any(a in moving for a in op.inputs if not isinstance(a, Literal)):
            moving.update(op.outputs)
        else:
            still.add(op)
    return still


def _convolution(op: Op, data: Shape, kernel: Shape, result: Shape) -> int:
    """The products of a convolution, without those with padding or dilation holes."""
    layout = op.params["dimension_numbers"]
    examples, features = (result[axis] for axis in layout.out_spec[:2])
    total = examples * features * kernel[layout.rhs_spec[1]]
    for i, (before, _) in enumerate(op.params["padding"]):
        outputs = np.arange(result[layout.out_spec[2 + i]])[:, None]
        window = np.arange(kernel[layout.rhs_spec[2 + i]])[None]
        hole = op.params["lhs_dilation"][i]
        place = outputs * op.params["window_strides"][i] - before
        place = place + window * op.params["rhs_dilation"][i]
        last = (data[layout.lhs_spec[2 + i]] - 1) * hole
        total *= int(np.sum((place >= 0) & (place <= last) & (place % hole == 0)))
    return total
