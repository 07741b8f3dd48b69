"""Parts of a value: what is known of each piece of arrays that were joined.

    concatenate(a, b) has the parts (a, b); a slice or a split returns them

Operations on entries keep the parts; all others join them. So a state in one vector, or
read-outs that are computed side by side, are told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...circuit import Op, Program
from ._values import Parts, Value, join

# Each entry of the result is computed from the same entries of the operands.
_OF_ENTRIES = frozenset(
    {"add", "sub", "mul", "div", "neg", "add_any", "max", "min", "exp", "log", "tanh"}
    | {"sign", "abs", "square", "integer_pow", "sqrt", "rsqrt", "logistic", "select_n"}
    | {"convert_element_type", "copy", "copy_p", "stop_gradient", "reduce_precision"}
    | {"gt", "lt", "ge", "le", "eq", "ne", "log1p", "expm1", "pow", "and", "or", "not"}
)
Apply = Callable[[Sequence[Value]], Value]


def parts_after(
    program: Program, op: Op, values: Sequence[Value], apply: Apply
) -> Parts | None:
    """The parts of the result of an operation, if they can be followed.

    Args:
      program: the program.
      op: the operation.
      values: its operands.
      apply: what is known of the result, given what is known of the operands.
    """
    if op.name == "concatenate":
        return _joined(program, op, values)
    if not any(v.parts for v in values):
        return None
    if op.name == "broadcast_in_dim" and values[0].parts:
        axis, pieces = values[0].parts
        return _moved(
            program, op, axis, op.params["broadcast_dimensions"][axis], pieces
        )
    if op.name == "transpose" and values[0].parts:
        axis, pieces = values[0].parts
        target = list(op.params["permutation"]).index(axis)
        return _moved(program, op, axis, target, pieces)
    if op.name.startswith("reduce_") and values[0].parts and "axes" in op.params:
        axis, pieces = values[0].parts
        axes = op.params["axes"]
        if axis in axes:
            return None
        found = tuple((n, apply([piece])) for n, piece in pieces)
        return axis - sum(a < axis for a in axes), found
    return _of_entries(program, op, values, apply)


def _joined(program: Program, op: Op, values: Sequence[Value]) -> Parts:
    axis, pieces = op.params["dimension"], list[tuple[int, Value]]()
    for i, value in enumerate(values):
        if value.parts is not None and value.parts[0] == axis:
            pieces += value.parts[1]
        else:
            pieces.append((program.shape(op.inputs[i])[axis], whole(value)))
    return axis, tuple(pieces)


def _moved(
    program: Program,
    op: Op,
    axis: int,
    target: int,
    pieces: tuple[tuple[int, Value], ...],
) -> Parts | None:
    """The same pieces along another axis, where it has the same length."""
    after = program.shapes[op.outputs[0]].shape
    if program.shape(op.inputs[0])[axis] != after[target]:
        return None
    return target, tuple((n, _without_axes(piece)) for n, piece in pieces)


def _without_axes(value: Value) -> Value:
    raw = {source: each._replace(axes=None) for source, each in value.raw.items()}
    return value._replace(raw=raw)


def _of_entries(
    program: Program, op: Op, values: Sequence[Value], apply: Apply
) -> Parts | None:
    layouts = {(v.parts[0], tuple(n for n, _ in v.parts[1])) for v in values if v.parts}
    after = program.shapes[op.outputs[0]].shape
    fits = all(
        _fits(program.shape(atom), after, exactly=v.parts is not None)
        for atom, v in zip(op.inputs, values, strict=True)
    )
    if op.name not in _OF_ENTRIES or len(layouts) != 1 or not fits:
        return None
    ((axis, sizes),) = layouts
    pieces = []
    for k, size in enumerate(sizes):
        operands = [v.parts[1][k][1] if v.parts else v for v in values]
        pieces.append((size, apply(operands)))
    return axis, tuple(pieces)


def _fits(before: Sequence[int], after: Sequence[int], *, exactly: bool) -> bool:
    """Whether an operand has the shape of the result, or is repeated along axes."""
    if exactly:
        return before == after
    pairs = zip(before, after, strict=False)
    same = len(before) == len(after)
    return not before or (same and all(n in (1, m) for n, m in pairs))


def pieces_of(program: Program, op: Op, value: Value) -> list[Value] | None:
    """What is known of each result of a slice or a split of a value with parts."""
    if value.parts is None:
        return None
    axis, pieces = value.parts
    if op.name == "split" and op.params["axis"] == axis:
        start, ranges = 0, list[tuple[int, int]]()
        for size in op.params["sizes"]:
            ranges.append((start, start + size))
            start += size
        return [_range(pieces, low, high) for low, high in ranges]
    if op.name == "slice":
        low, high = op.params["start_indices"][axis], op.params["limit_indices"][axis]
        return [_range(pieces, low, high)]
    return None


def _range(pieces: tuple[tuple[int, Value], ...], low: int, high: int) -> Value:
    """The join of the pieces between two positions."""
    start, found = 0, list[Value]()
    for size, piece in pieces:
        if start < high and start + size > low:
            found.append(_without_axes(piece))
        start += size
    return join(found)


def whole(value: Value) -> Value:
    """A value without its parts."""
    return value if value.parts is None else value._replace(parts=None)
