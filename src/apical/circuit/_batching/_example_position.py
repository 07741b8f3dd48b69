"""`Place`: the axis of the examples of a value, with axes folded into it.

Examples are on one axis, of size `outer * count * inner`: entry
`(o * count + e) * inner + i` belongs to example `e`. An axis of only the examples has
`outer = inner = 1`; heads folded into it (`[batch * heads, ...]`) are `inner`, two
concatenated batches are `outer`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Place(NamedTuple):
    """The axis of the examples, and the sizes folded into it; see the module.

    Inside a loop, a negative axis is a surrounding loop, -1 the innermost.
    """

    axis: int
    outer: int = 1
    inner: int = 1

    def at(self, axis: int) -> Place:
        """The place at another axis."""
        return self._replace(axis=axis)


def unfolded(place: Place, shape: Sequence[int], count: int) -> tuple[int, ...]:
    """The shape with a separate axis for the examples, at `unfolded_axis(place)`."""
    before, after = shape[: place.axis], shape[place.axis + 1 :]
    beside = [place.outer] if place.outer > 1 else []
    within = [place.inner] if place.inner > 1 else []
    return (*before, *beside, count, *within, *after)


def unfolded_axis(place: Place) -> int:
    """The axis of the examples in the unfolded shape."""
    return place.axis + (1 if place.outer > 1 else 0)


def reshaped(
    place: Place, before: Sequence[int], after: Sequence[int], count: int
) -> Place | None:
    """The place after a row-major reshape; None if the reshape splits examples."""
    stride = place.inner * math.prod(before[place.axis + 1 :])
    below = 1
    for axis in reversed(range(len(after))):
        above = below * after[axis]
        if below <= stride < above:
            whole = stride % below == 0 and above % (stride * count) == 0
            outer, inner = above // (stride * count), stride // below
            return Place(axis, outer, inner) if whole else None
        below = above
    return None


def sliced(
    place: Place, start: int, limit: int, stride: int, count: int
) -> Place | None:
    """The place after a slice of its axis; None unless it keeps whole blocks."""
    block = count * place.inner
    size = place.outer * block
    if stride == 1 and start % block == 0 and limit % block == 0:
        return place._replace(outer=(limit - start) // block)
    one_of_each = start < stride == place.inner and limit > size - stride + start
    return place._replace(inner=1) if one_of_each else None
