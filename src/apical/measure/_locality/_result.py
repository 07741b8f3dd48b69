"""`Locality`: what each parameter's update needs, as measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple


class Hops(NamedTuple):
    """The weight uses that a signal passes: the fewest, and the most on any path."""

    fewest: float
    most: float

    def __str__(self) -> str:
        if self.fewest == self.most:
            return _number(self.fewest)
        return f"{_number(self.fewest)}-{_number(self.most)}"


class Mismatch(NamedTuple):
    """A requirement that is declared and not measured, or the reverse."""

    need: str
    declared: bool
    measured: bool


@dataclass(frozen=True)
class LeafLocality:
    """What the update of one parameter leaf needs.

    An entry that is `"none"` is proved by the static pass, and one that is a level or
    `"yes"` by the copies; `"not seen"` is neither, and `"unknown"` says that an
    operation on the way is not known.

    Attributes:
      name: the path of the leaf.
      shape: its shape.
      transport: what of other weights reaches the update besides the activities that
        they compute: `"full"`, `"scale-free"` (all but a common factor), `"sign"` or
        `"none"`.
      through: how: `"reverse"` (a product that sums other axes than the forward one),
        `"gain"` (an elementwise factor) or `"direct"` (the weight itself is read).
      of: the leaves whose weights reach it.
      gains: the same level for elementwise gains, which a unit knows of itself.
      copied: what of this leaf's own weights enters the new state of the rule.
      second: whether a second signal passes forward weights (forward-mode).
      locked: whether the update depends on weights above, through activities or not.
      locked_by: the leaves above on which it depends.
      distance: the fewest weight uses from the leaf to the output.
      label: the weight uses from the label to the update; None if it does not arrive.
      output: those from the output.
      label_number: those of label or output as one number for each example.
      reads_output: whether a changed output changes the update.
      crossings: the weights each of which alone, set to 0, keeps the output from
        reaching the update.
      rank: the rank of the changes of the update as the label of one example changes;
        None without a label.
      depth: the longest chain of heavy operations to the update.
      values: the number of values that the uses of the leaf take in one call, such as
        those of several passes or of steps of settling; None in a loop over time.
      held: the heavy operations between the two factors of the last product.
      apart: the heavy operations between the two terms of the last difference, as of
        two passes.
      stored_bytes: what loops keep of every step for the update.
      carried_bytes: what loops carry to the next step.
      longer_bytes: those two with `longer`: what loops keep, and what they carry, in a
        longer sequence; None without it.
      slopes: the nodes whose derivative of the nonlinearity is used.
      possible_slopes: those whose derivative the static pass does not exclude.
      coupled: whether the update is not a sum over the examples.
      state_bytes: the size of the feedback weights that are used.
    """

    name: str
    shape: tuple[int, ...]
    transport: str
    through: tuple[str, ...]
    of: tuple[str, ...]
    gains: str
    copied: str
    second: str
    locked: str
    locked_by: tuple[str, ...]
    distance: float | None
    label: Hops | None
    output: Hops | None
    label_number: Hops | None
    reads_output: bool
    crossings: int
    rank: int | None
    depth: float
    values: int | None
    held: float
    apart: float
    stored_bytes: int
    carried_bytes: int
    longer_bytes: tuple[int, int] | None
    slopes: tuple[str, ...]
    possible_slopes: tuple[str, ...]
    coupled: bool | None
    state_bytes: int

    @property
    def stores_more(self) -> bool | None:
        """Whether loops hold at least half as much again in the longer sequence."""
        if self.longer_bytes is None:
            return None
        return sum(self.longer_bytes) > 1.5 * (self.stored_bytes + self.carried_bytes)

    @property
    def hidden(self) -> bool:
        """Whether a use of another weight lies between the leaf and the output."""
        return self.distance is not None and self.distance >= 1


@dataclass(frozen=True)
class Locality:
    """What a rule needs on one network: a row per parameter leaf.

    Attributes:
      rule: the name of the rule.
      rows: what the update of each leaf needs.
      declared: the needs that the rule declares.
      hops_per_round: the most weight uses that a signal passes in one round of a loop
        that the rule adds; None without one.
      state_both_ways: whether some weights of the state are used in both directions, as
        those of a read-out through which its error returns.
      state_learns: whether some feedback weights in the state are learned.
      backward_in_time: whether a loop of the network also runs backwards; None where
        the network has no loop.
      derivatives: whether the derivatives of nonlinearities could be followed.
      outputs: the number of output units.
      unknown: the operations on the way to an update that are not known.
      measured: for each need that could be decided, whether the rule has it.
    """

    rule: str
    rows: tuple[LeafLocality, ...]
    declared: tuple[str, ...]
    hops_per_round: float | None
    state_both_ways: bool
    state_learns: bool
    backward_in_time: bool | None
    derivatives: bool
    outputs: int
    unknown: tuple[str, ...]
    measured: dict[str, bool]

    @property
    def needs(self) -> tuple[str, ...]:
        """The needs that were measured, in the words of `Rule.needs`."""
        return tuple(need for need, found in self.measured.items() if found)

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """The needs that were decided, and that the rule declares otherwise."""
        return tuple(
            Mismatch(need, need in self.declared, found)
            for need, found in self.measured.items()
            if found != (need in self.declared)
        )

    def to_records(self) -> list[dict[str, Any]]:
        """A dictionary for each leaf, of values that JSON can hold."""
        return [
            {"rule": self.rule}
            | {f.name: _plain(getattr(row, f.name)) for f in fields(row)}
            for row in self.rows
        ]

    def __str__(self) -> str:
        """A table: a line for each leaf."""
        lines = [_HEAD, *(_cells(row) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        below = [f"needs: {', '.join(self.needs) or 'none of those measured'}"]
        if self.hops_per_round is not None:
            below.append(f"weight uses per round: {_number(self.hops_per_round)}")
        for need, declared, _ in self.mismatches:
            said = "declared, not" if declared else "not declared, but"
            below.append(f"{said} measured: {need}")
        below += [f"unknown: {name}" for name in self.unknown]
        return "\n".join([self.rule, *table, *below])


_HEAD = (
    *("leaf", "transport", "through", "second", "locked", "distance", "label"),
    *("output", "rank", "depth", "values", "held", "stored", "carried", "longer"),
    *("slopes", "coupled", "copied", "state"),
)


def _cells(row: LeafLocality) -> tuple[str, ...]:
    def text(x: Any) -> str:
        if x is None:
            return "-"
        if isinstance(x, bool):
            return "yes" if x else "no"
        if isinstance(x, tuple) and not isinstance(x, Hops):
            return " ".join(map(str, x)) or "-"
        return _number(x) if isinstance(x, (int, float)) else str(x)

    number = row.label_number
    label = text(row.label) + ("" if number is None else f" (one number: {number})")
    cells = (
        *(row.name, row.transport, row.through, row.second, row.locked),
        *(row.distance, label, row.output, row.rank, row.depth, row.values, row.held),
        *(row.stored_bytes, row.carried_bytes, row.longer_bytes, row.slopes),
        *(row.coupled, row.copied, row.state_bytes),
    )
    return tuple(map(text, cells))


def _number(x: float) -> str:
    return "unbounded" if math.isinf(x) else f"{x:g}"


def _plain(x: Any) -> Any:
    if isinstance(x, tuple):
        return [_plain(each) for each in x]
    if isinstance(x, float):
        return None if math.isinf(x) else x
    return x
