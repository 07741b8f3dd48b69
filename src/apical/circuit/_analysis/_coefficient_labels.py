"""Arrays of labels that identify the coefficient of each entry of a value.

A label is `2 n + own`: `n` numbers the coefficient, and `own` is 1 if it belongs to the
product being classified; -1 means no coefficient. An axis along which labels do not
differ has size 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._jaxpr import Op
from ._varying_axes import reshape_groups

Labels = np.ndarray
_UNTOUCHED = frozenset(
    {"convert_element_type", "reduce_precision", "copy", "copy_p", "device_put"}
    | {"optimization_barrier", "sharding_constraint", "name"}
)


def mark(numbers: np.ndarray, *, own: bool) -> Labels:
    """Labels from the numbers of coefficients."""
    return 2 * numbers + own


def is_own(labels: Labels) -> bool:
    """Whether any label belongs to the product being classified."""
    return bool(((labels >= 0) & (labels & 1 > 0)).any())


def same(one: Labels, other: Labels) -> bool:
    """Whether all labels are equal."""
    return one.shape == other.shape and bool((one == other).all())


def of_rank(labels: Labels, rank: int) -> Labels:
    """The label of a scalar, with the rank that it is broadcast to."""
    return labels.reshape((1,) * rank) if labels.ndim != rank else labels


def prefer(first: Labels, second: Labels) -> Labels:
    """The first labels, or the second where the first has none."""
    first, second = np.broadcast_arrays(first, second)
    return np.where(first < 0, second, first)


def joined(arrays: Sequence[Labels]) -> Labels | None:
    """The labels of an elementwise sum; None if it adds different labels."""
    found = arrays[0]
    for other in arrays[1:]:
        one, two = np.broadcast_arrays(found, other)
        both = (one >= 0) & (two >= 0)
        differ = both & (one >> 1 != two >> 1)
        if (differ & ((one | two) & 1 > 0)).any():
            return None
        found = np.where(one < 0, two, np.where(both & ~differ, one | two, one))
    return found


def added(labels: Labels, axes: tuple[int, ...]) -> Labels | None:
    """The labels of a sum over axes (kept with size 1); None if labels differ."""
    there = labels >= 0
    largest = np.iinfo(labels.dtype).max
    low = np.where(there, labels, largest).min(axes, keepdims=True) >> 1
    high = labels.max(axes, keepdims=True) >> 1
    own = np.where(there, labels & 1, 0).max(axes, keepdims=True)
    if ((high >= 0) & (low != high) & (own > 0)).any():
        return None
    return np.where(high < 0, -1, 2 * high + own)


def placed(labels: Labels, places: dict[int, int], rank: int) -> Labels:
    """Labels with axes moved to their positions in the result; others have size 1."""
    gone = tuple(axis for axis in range(labels.ndim) if axis not in places)
    kept = sorted(places)
    order = sorted(kept, key=places.__getitem__)
    labels = labels.max(gone).transpose([kept.index(axis) for axis in order])
    shape = [1] * rank
    for axis, size in zip(order, labels.shape, strict=True):
        shape[places[axis]] = size
    return labels.reshape(shape)


def moved(
    op: Op,
    given: Sequence[Labels | None],
    shapes: Sequence[tuple[int, ...]],
    out: tuple[int, ...],
) -> Sequence[Labels | None] | None:
    """The labels of a rearranged value; None if it is rearranged by an index."""
    params, labels = op.params, given[0]
    if op.name in _UNTOUCHED:
        return given
    if op.name == "concatenate":
        return [_concatenated(given, shapes, params["dimension"])]
    if op.name == "stack":
        return None
    if labels is None:
        return None
    if op.name == "transpose":
        return [labels.transpose(params["permutation"])]
    if op.name == "broadcast_in_dim":
        places = dict(enumerate(params["broadcast_dimensions"]))
        return [placed(labels, places, len(out))]
    if op.name == "squeeze":
        return [labels.squeeze(params["dimensions"])]
    if op.name in ("reshape", "expand_dims"):
        return [_reshaped(labels, shapes[0], out)]
    if op.name == "rev":
        return [np.flip(labels, params["dimensions"])]
    if op.name == "slice":
        return [_sliced(labels, op)]
    if op.name == "pad":
        return _padded(labels, op, out)
    if labels.size == 1 and op.name in ("gather", "dynamic_slice", "split"):
        return [labels.reshape((1,) * len(out)) for _ in op.outputs]
    return None


def _sliced(labels: Labels, op: Op) -> Labels:
    params = op.params
    starts, limits = params["start_indices"], params["limit_indices"]
    strides = params["strides"] or [1] * labels.ndim
    cuts = (slice(*each) for each in zip(starts, limits, strides, strict=True))
    pairs = zip(labels.shape, cuts, strict=True)
    return labels[tuple(slice(None) if size == 1 else cut for size, cut in pairs)]


def _padded(labels: Labels, op: Op, out: Sequence[int]) -> list[Labels] | None:
    config = op.params["padding_config"]
    if any(low < 0 or high < 0 for low, high, _ in config):
        return None
    for axis, (low, high, between) in enumerate(config):
        if labels.shape[axis] > 1 and (low or high or between):
            shape = [*labels.shape[:axis], out[axis], *labels.shape[axis + 1 :]]
            wide = np.full(shape, -1, labels.dtype)
            inside = slice(low, out[axis] - high, between + 1)
            wide[(slice(None),) * axis + (inside,)] = labels
            labels = wide
    return [labels]


def _concatenated(
    given: Sequence[Labels | None], shapes: Sequence[tuple[int, ...]], axis: int
) -> Labels:
    rank = len(shapes[0])
    none = np.full((1,) * rank, -1, np.int64)
    parts = [none if labels is None else labels for labels in given]
    if all(p.shape[axis] == 1 and same(p, parts[0]) for p in parts):
        return parts[0]
    full = [max(p.shape[a] for p in parts) for a in range(rank)]
    wide = []
    for part, shape in zip(parts, shapes, strict=True):
        sizes = [shape[axis] if a == axis else n for a, n in enumerate(full)]
        wide.append(np.broadcast_to(part, sizes))
    return np.concatenate(wide, axis)


def _reshaped(labels: Labels, before: Sequence[int], after: Sequence[int]) -> Labels:
    """The labels after a reshape of groups of axes, only where labels differ."""
    wide, parts = [1] * len(before), [1] * len(after)
    for old, new in reshape_groups(before, after):
        if any(labels.shape[axis] > 1 for axis in old):
            for axis in old:
                wide[axis] = before[axis]
            for axis in new:
                parts[axis] = after[axis]
    return np.broadcast_to(labels, wide).reshape(parts)
