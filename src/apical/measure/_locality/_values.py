"""What is known about a value: the weights in it, the signals in it, and their paths.

    after(op) = join of the operands, except where a weight meets a signal:
    there the weight leaves the value, and a `Seen` says how it was used

The channels of `Seen`:

| channel    | the weight was read                                            |
|------------|----------------------------------------------------------------|
| `forward`  | by the forward computation: both of its marks are there        |
| `second`   | by another product that sums the same axes: a second signal    |
| `reverse`  | by a product that sums other axes                              |
| `gain`     | as an elementwise factor, but not by the forward computation   |
| `direct`   | without a mark, or not in a product                            |
| `feedback` | from the rule's state                                          |
| `along ..` | the same: the axes of the state's array that a product sums    |

Of loops, `stack` is an activity of every step, `carry` one that is carried, `backward`
one that is carried from the last step to the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

FULL, SIGN = 2, 1


class Source(NamedTuple):
    """Where a weight comes from: leaf `leaf` of the parameters, or of the state."""

    tree: str
    leaf: int


class Raw(NamedTuple):
    """A weight in a value.

    Attributes:
      quality: `FULL`, or `SIGN` if only its signs are left.
      use: the number of the marked use that it passed, or None.
      axes: for each axis of the value, the axis of the marked weight (None: a new
        one); None if they were not followed.
    """

    quality: int = FULL
    use: int | None = None
    axes: tuple[int | None, ...] | None = None


class Seen(NamedTuple):
    """A use of a weight on the way to a value."""

    channel: str
    source: Source
    quality: int


Hops = tuple[float, float]  # the fewest and the most weight uses on a path
# An axis, and the length of each piece along it with what is known of the piece.
Parts = tuple[int, tuple[tuple[int, "Value"], ...]]


class Value(NamedTuple):
    """What is known about a value.

    Attributes:
      raw: the weights in it, by source.
      seen: the uses of weights on the way to it.
      hops: for each source of signals (`"label"`, `"output"`, ...) the fewest and the
        most weight uses from there.
      depth: the most heavy operations, one after the other, on the way to it.
      gap: in the last product of two signals, how many heavy operations later the
        second was ready than the first.
      apart: the same for the last difference of two signals.
      slopes: the nodes whose nonlinearity's derivative was used.
      unknown: operations on the way that are not known.
      parts: what is known of pieces of it that were joined along an axis.
      zero: whether every entry is 0, as in a cotangent that nothing sends.
    """

    raw: Mapping[Source, Raw] = {}
    seen: frozenset[Seen] = frozenset()
    hops: Mapping[str, Hops] = {}
    depth: float = 0
    gap: float = 0
    apart: float = 0
    slopes: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    parts: Parts | None = None
    zero: bool = False

    @property
    def signal(self) -> bool:
        """Whether it depends on data."""
        return bool(self.hops)

    @property
    def holds_parameters(self) -> bool:
        """Whether there is a parameter in it."""
        return any(source.tree == "params" for source in self.raw)


NOTHING, ZERO = Value(), Value(zero=True)


def join(values: Iterable[Value]) -> Value:
    """What is known about a value that is computed from all of these."""
    every = list(values)
    several = [v for v in every if v is not ZERO and v is not NOTHING]
    if not several:
        return ZERO if every and all(v is ZERO for v in every) else NOTHING
    first, *rest = several
    for value in rest:
        first = first if value is first else _both(first, value)
    return first


def _both(a: Value, b: Value) -> Value:
    raw = a.raw
    if b.raw:
        raw = dict(a.raw)
        for source, each in b.raw.items():
            raw[source] = _same(raw[source], each) if source in raw else each
    hops = a.hops
    if b.hops:
        hops = dict(a.hops)
        for name, (low, high) in b.hops.items():
            lowest, highest = hops.get(name, (math.inf, -math.inf))
            hops[name] = (min(low, lowest), max(high, highest))
    return Value(
        raw,
        a.seen | b.seen,
        hops,
        max(a.depth, b.depth),
        max(a.gap, b.gap),
        max(a.apart, b.apart),
        a.slopes | b.slopes,
        a.unknown | b.unknown,
        _parts(a.parts, b.parts),
    )


def _parts(a: Parts | None, b: Parts | None) -> Parts | None:
    """The parts of a value that is one of two, if both have the same."""
    if a is None or b is None or a[0] != b[0] or len(a[1]) != len(b[1]):
        return None
    pairs = list(zip(a[1], b[1], strict=True))
    if any(one != other for (one, _), (other, _) in pairs):
        return None
    return a[0], tuple((size, join([v, w])) for (size, v), (_, w) in pairs)


def _same(a: Raw, b: Raw) -> Raw:
    return Raw(
        max(a.quality, b.quality),
        a.use if a.use == b.use else None,
        a.axes if a.axes == b.axes else None,
    )


def widened(value: Value, before: Value) -> Value:
    """The limit of a value that grows with every step of a loop."""
    hops = {
        name: (low, math.inf if high > before.hops.get(name, (0, high))[1] else high)
        for name, (low, high) in value.hops.items()
    }
    return value._replace(
        hops=hops,
        depth=math.inf if value.depth > before.depth else value.depth,
        gap=math.inf if value.gap > before.gap else value.gap,
    )
