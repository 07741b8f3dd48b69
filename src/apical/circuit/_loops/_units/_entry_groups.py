"""Which entries of an operation's result depend on which entries of an operand.

Dependence is given by groups: an entry of the result depends on the entries of the
operand in the same group. Elementwise operations link equal positions, operations that
rearrange are run on arrays of positions, reductions link what they add, and any other
operation links every entry to every other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._analysis._primitives import STRUCTURAL, is_elementwise
from ..._jaxpr import Op

# Structural, but without a rearrangement to compute.
_SAME_POSITIONS = frozenset(
    {"convert_element_type", "copy", "copy_p", "reduce_precision", "name"}
    | {"optimization_barrier", "sharding_constraint", "device_put", "stop_gradient"}
)
_REDUCTIONS = frozenset(
    {"reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and"}
    | {"reduce_or", "argmax", "argmin"}
)
_ALONG_AN_AXIS = frozenset({"cumsum", "cummax", "cummin", "cumprod", "cumlogsumexp"})

Shape = tuple[int, ...]


class Groups(NamedTuple):
    """The groups of an operand's entries and of a result's entries, both flat.

    Attributes:
      operand: the group of each entry; None where each entry is a group, numbered by
        its position.
      result: the group of each entry; -1 for an entry that depends on none.
      known: whether the groups are all that is linked: False where entries are
        rearranged by an index that is not known.
    """

    operand: np.ndarray | None
    result: np.ndarray
    known: bool = True

    @property
    def mixes(self) -> bool:
        """Whether several entries of the operand or of the result are linked."""
        return self.known and (_repeats(self.operand) or _repeats(self.result))


def entry_groups(
    op: Op,
    operand: int,
    shapes: Sequence[Shape],
    results: Sequence[Shape],
    known: Callable[[int], np.ndarray | None],
) -> list[Groups]:
    """The groups of one operand, for each result of an operation.

    Args:
      op: the operation.
      operand: the position of the operand.
      shapes: the shapes of the operands.
      results: the shapes of the results.
      known: the value of an operand by its position, if it is known now.
    """
    shape = shapes[operand]
    if op.name in _SAME_POSITIONS or _is_pointwise(op):
        return [_pointwise(shape, result) for result in results]
    if op.name in ("dynamic_slice", "dynamic_update_slice"):
        return [_dynamic(op, operand, shapes, results[0])]
    if op.name in ("scatter", "scatter-add", "scatter_add", "scatter-mul"):
        found = _scattered(op, operand, shapes, results[0])
        return [found or _joined(shape, results[0])]
    if op.name in STRUCTURAL:
        moved = _moved(op, operand, shapes, known)
        if moved is not None:
            return [Groups(None, m) for m in moved]
    if op.name in _REDUCTIONS or op.name in _ALONG_AN_AXIS:
        axes = op.params["axes"] if "axes" in op.params else (op.params["axis"],)
        return [_along(shape, tuple(axes), keep=op.name in _ALONG_AN_AXIS)]
    if op.name == "dot_general" and not op.params["dimension_numbers"][0][0]:
        return [_product(op, operand, shapes)]
    return [_joined(shape, result) for result in results]


def _is_pointwise(op: Op) -> bool:
    return is_elementwise(op) and op.name != "broadcast_in_dim"


def positions(shape: Shape) -> np.ndarray:
    """The flat position of each entry, in the array's shape."""
    return np.arange(math.prod(shape)).reshape(shape)


def _pointwise(shape: Shape, result: Shape) -> Groups:
    # An operand may have size 1 where the result is longer, or be a scalar.
    return Groups(None, np.broadcast_to(positions(shape), result).ravel())


def _joined(shape: Shape, result: Shape) -> Groups:
    size, made = math.prod(shape), math.prod(result)
    return Groups(np.zeros(size, int), np.zeros(made, int))


def _moved(
    op: Op,
    operand: int,
    shapes: Sequence[Shape],
    known: Callable[[int], np.ndarray | None],
) -> list[np.ndarray] | None:
    """The position in the operand of each entry of each result; -1: elsewhere."""
    values: list[np.ndarray] = []
    for i, shape in enumerate(shapes):
        given = known(i)
        if i == operand:
            values.append(positions(shape).astype(np.int32))
        elif op.name == "gather" and given is None:
            return None
        elif given is not None and np.issubdtype(given.dtype, np.integer):
            values.append(given)
        else:
            values.append(np.full(shape, -1, np.int32))
    try:
        with jax.ensure_compile_time_eval():
            found = op(*map(jnp.asarray, values))
    except (TypeError, ValueError):  # an operand that must have its own dtype
        return None
    return [np.asarray(x).ravel() for x in found]


def _along(shape: Shape, axes: tuple[int, ...], *, keep: bool) -> Groups:
    """Entries that differ along some axes alone are one group."""
    held = tuple(1 if a in axes else n for a, n in enumerate(shape))
    groups = np.broadcast_to(positions(held), shape).ravel()
    return Groups(groups, groups if keep else np.arange(math.prod(held)))


def _dynamic(op: Op, operand: int, shapes: Sequence[Shape], result: Shape) -> Groups:
    """A slice at an index that changes: its position along some axes is not known."""
    whole = shapes[0]
    part = result if op.name == "dynamic_slice" else shapes[1]
    moving = tuple(a for a, n in enumerate(whole) if part[a] != n)
    held = tuple(1 if a in moving else n for a, n in enumerate(whole))
    groups = positions(held)
    if op.name == "dynamic_update_slice" and operand == 0:
        return Groups(None, np.arange(math.prod(whole)))  # its own position
    first = np.broadcast_to(groups, shapes[operand]).ravel()
    return Groups(first, np.broadcast_to(groups, result).ravel(), False)


def _scattered(
    op: Op, operand: int, shapes: Sequence[Shape], result: Shape
) -> Groups | None:
    """An update at an index that changes, as `x.at[i].set(y)`."""
    if operand == 0:
        return Groups(None, np.arange(math.prod(result)))
    if operand == 1:
        return None
    numbers = op.params["dimension_numbers"]
    if getattr(numbers, "operand_batching_dims", ()):
        return None
    moving = set(numbers.scatter_dims_to_operand_dims)
    moving |= set(numbers.inserted_window_dims)
    window = [a for a in range(len(result)) if a not in numbers.inserted_window_dims]
    shape, groups = shapes[2], np.zeros(shapes[2], int)
    held = tuple(1 if a in moving else n for a, n in enumerate(result))
    strides = np.array([math.prod(held[a + 1 :]) for a in range(len(held))], int)
    for to, axis in zip(window, numbers.update_window_dims, strict=True):
        if to not in moving:
            if shape[axis] != result[to]:
                return None
            along = np.arange(shape[axis]) * strides[to]
            place = [1] * len(shape)
            place[axis] = shape[axis]
            groups = groups + along.reshape(place)
    return Groups(
        groups.ravel(), np.broadcast_to(positions(held), result).ravel(), False
    )


def _product(op: Op, operand: int, shapes: Sequence[Shape]) -> Groups:
    """A product without a sum: each entry meets entries of the other operand."""
    _, shared = op.params["dimension_numbers"]
    ranks = [len(s) for s in shapes]
    free = [[a for a in range(ranks[i]) if a not in shared[i]] for i in (0, 1)]
    own = [*shared[operand], *free[operand]]
    moved = positions(shapes[operand]).transpose(own)
    lead, rest = len(shared[0]), [len(f) for f in free]
    shape = moved.shape
    tail = (
        shape[lead:] + (1,) * rest[1] if operand == 0 else (1,) * rest[0] + shape[lead:]
    )
    sizes = [shapes[0][a] for a in shared[0]]
    sizes += [shapes[0][a] for a in free[0]] + [shapes[1][a] for a in free[1]]
    spread = np.broadcast_to(moved.reshape(shape[:lead] + tail), sizes)
    return Groups(None, spread.ravel())


def _repeats(groups: np.ndarray | None) -> bool:
    """Whether several entries are in one group."""
    if groups is None:
        return False
    there = groups[groups >= 0]
    return len(np.unique(there)) < len(there)


# ---- Labels of entries: a number, or one of these.

NONE, SEVERAL = -1, -2
"""An entry that has no label, or has several."""


def of_operand(groups: Groups, labels: np.ndarray, size: int) -> np.ndarray:
    """The labels of an operand's entries from those of the result that reads them."""
    there = groups.result >= 0
    joined = _joined_labels(labels[there], groups.result[there], size)
    return joined if groups.operand is None else joined[groups.operand]


def of_result(groups: Groups, labels: np.ndarray) -> np.ndarray:
    """The labels of a result's entries from those of the operand that they read."""
    there = groups.result >= 0
    found = np.full(len(groups.result), NONE)
    if groups.operand is not None:
        count = max(len(labels), len(groups.result))
        labels = _joined_labels(labels, groups.operand, count)
    found[there] = labels[groups.result[there]]
    return found


def either(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The label that either has; `SEVERAL` where both have different ones."""
    same = (one == other) | (other == NONE)
    return np.where(same, one, np.where(one == NONE, other, SEVERAL))


def _joined_labels(labels: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """The label that all entries of a group have, for each group."""
    low = np.full(count, np.iinfo(np.int64).max)
    high = np.full(count, SEVERAL - 1)
    some = labels != NONE
    np.minimum.at(low, groups[some], labels[some])
    np.maximum.at(high, groups[some], labels[some])
    return np.where(high < SEVERAL, NONE, np.where(low == high, high, SEVERAL))
