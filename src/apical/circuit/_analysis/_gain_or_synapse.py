"""Classification of products of an activity and a weight: gain or synapse.

An elementwise product is a *gain* if no later operation, up to the next nonlinearity,
synapse, product of activities or mark, adds two entries that were multiplied by
different numbers. Otherwise it is a *synapse*, however it is written:

* it *fans out*: an entry of the activity is multiplied by several entries of the
  weight, or
* it *adds*: two entries with different coefficients are added afterwards.

A product that fans out and is then read only as a weight (the `rsqrt(var) * scale` of a
normalisation, a kernel scaled for each example) is classified by its uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from .._jaxpr import Atom, Literal, Op
from .._marks import mark_of
from ._dataflow import ACTIVITY, DATA, Flow
from ._graph import walk
from ._primitives import (
    ELEMENTWISE_LINEAR,
    LINEAR_SELECTIONS,
    OTHER_SUMS,
    STRUCTURAL,
    SUMS,
    SYNAPTIC,
    is_elementwise,
    is_nonlinear,
)
from ._product_coefficients import Added, follow

_APART = ELEMENTWISE_LINEAR | LINEAR_SELECTIONS
_ADDING = SUMS | OTHER_SUMS | SYNAPTIC


@dataclass(frozen=True)
class Verdict:
    """The class of a product: a gain if `reason` is empty, else a synapse.

    `is_weight`: the product is read only as the weight of a later synapse, and has a
    second copy there.
    """

    reason: str = ""
    is_weight: bool = False


class Products:
    """The elementwise products of a weight and an activity, with their classes."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._loops: dict[int, tuple[int, ...]] = {}
        self.ops: list[Op] = []
        self.weight: dict[int, int] = {}  # by identity: the operand that is the weight
        self._mixed: list[tuple[Op, int]] = []  # with a mixed weight
        for site in walk(flow.program.body):
            self._loops[id(site.op)] = site.loops
            weight = flow.scaling_weight(site.op)
            if not site.op.outputs or site.op.outputs[0] not in flow.live:
                continue
            if weight is not None:
                self.ops.append(site.op)
                self.weight[id(site.op)] = weight
            elif (mixed := flow.mixed_operand(site.op)) is not None:
                self._mixed.append((site.op, mixed))
        self._verdicts: dict[int, Verdict] = {}
        self._roots: dict[int, frozenset[int]] = {}
        self._ends: dict[int, bool] = {}
        self._lowest: dict[int, frozenset[int]] = {}

    def verdict(self, op: Op) -> Verdict:
        """The class of one of these products, and the reason."""
        if id(op) not in self._verdicts:
            self._verdicts[id(op)] = self._judge(op, self.weight[id(op)])
        return self._verdicts[id(op)]

    @cached_property
    def mixed(self) -> list[tuple[Op, int]]:
        """Synapses whose weight is mixed with data, and the operand of that weight."""
        return [(op, i) for op, i in self._mixed if self._judge(op, i).reason]

    @cached_property
    def sums(self) -> frozenset[int]:
        """The synapses among the products that end in activities, by identity."""
        verdicts = ((op, self.verdict(op)) for op in self.ops)
        return frozenset(id(op) for op, v in verdicts if v.reason and not v.is_weight)

    def _judge(self, op: Op, weight: int) -> Verdict:
        if self.flow.axes.fan_out(op, weight):
            uses = list(self._uses(op.outputs[0]))
            if None in uses or not uses:
                return Verdict("fans out")
            carried = any(use is not None and self._is_synapse(use) for use in uses)
            reason = "is the weight of a synapse" if carried else ""
            return Verdict(reason, is_weight=True)
        try:
            follow(self, op, weight)
        except Added as added:
            return Verdict(f"is added up at {added.where} (`{added.operation}`)")
        return Verdict()

    def _is_synapse(self, op: Op) -> bool:
        return id(op) not in self.weight or bool(self.verdict(op).reason)

    def _uses(self, number: int) -> Iterator[Op | None]:
        """The operations in which a value is the weight; None: another use."""
        flow = self.flow
        if number in self._leaving or number not in flow.modulated:
            yield None
        for op in flow.readers.get(number, []):
            if not any(n in flow.live for n in op.outputs):
                continue
            weight = self.weight.get(id(op), flow.weight_of(op))
            if weight is not None and op.inputs[weight] == number:
                yield op
            elif (
                op.name in STRUCTURAL | ELEMENTWISE_LINEAR
                and len(op.outputs) == 1
                and op.outputs[0] in flow.modulated
            ):
                yield from self._uses(op.outputs[0])
            else:
                yield None

    @cached_property
    def _leaving(self) -> frozenset[Atom]:
        """The outputs of all bodies."""
        bodies = [self.flow.program.body, *(body for _, body in self.flow.bodies)]
        outputs = (a for body in bodies for a in body.outputs)
        return frozenset(a for a in outputs if not isinstance(a, Literal))

    # ------------------------------------------------------------------- the region

    def stops(self, op: Op) -> bool:
        """Whether a region of linear operations ends at this operation."""
        flow = self.flow
        if mark_of(op):
            return True
        touched = [a for a in op.inputs if flow.is_activity(a) or flow.is_weight(a)]
        if op.name in SYNAPTIC:
            return flow.weight_of(op) is not None or len(touched) > 1
        if op.name in ("mul", "div"):
            activities = [a for a in touched if not flow.is_weight(a)]
            divides = op.name == "div" and op.inputs[1] in activities
            return len(activities) > 1 or divides
        if op.name == "select_n" and self._is_chosen_by_activity(op.inputs[0]):
            return True
        if op.name in _APART or op.name in STRUCTURAL:
            return False
        return is_nonlinear(op) or is_elementwise(op)

    def _is_chosen_by_activity(self, choice: Atom) -> bool:
        """Whether a choice depends on an activity, as in a ReLU."""
        seen, stack = set[int](), [choice]
        while stack:
            atom = stack.pop()
            if isinstance(atom, Literal) or atom in seen:
                continue
            seen.add(atom)
            if self.flow.is_activity(atom):
                return True
            if self.flow.program.shapes[atom].dtype == bool:
                stack += self.flow.before(atom)
        return False

    def ends(self, number: int) -> bool:
        """Whether the entries of a value are activities by themselves.

        That is so if a nonlinear operation reads them, or if one reader sums them and
        another reads them separately (a normalisation and its mean).
        """
        if number not in self._ends:
            readers = self._readers(number)
            apart = any(op.name in _APART for op in readers)
            added = any(op.name in _ADDING for op in readers)
            self._ends[number] = any(map(self.stops, readers)) or (apart and added)
        return self._ends[number]

    def _readers(self, number: int) -> list[Op]:
        """The operations without bodies that read a value on its way to the loss."""
        flow = self.flow
        return [
            op
            for op in flow.readers.get(number, [])
            if not op.enterable
            and any(n in flow.live and flow.kind[n] == ACTIVITY for n in op.outputs)
        ]

    def roots(self, op: Op) -> frozenset[int]:
        """The activities and carries of which a product is a linear function."""
        if id(op) not in self._roots:
            found, seen = set[int](), set[int]()
            stack = [op.inputs[1 - self.weight[id(op)]]]
            while stack:
                atom = stack.pop()
                if isinstance(atom, Literal) or atom in seen:
                    continue
                if not self.flow.kind_of(atom) & DATA:
                    continue
                seen.add(atom)
                before = self._linear_before(atom)
                if before:
                    stack += before
                else:
                    found.add(atom)
            self._roots[id(op)] = frozenset(found)
        return self._roots[id(op)]

    def _linear_before(self, number: int) -> list[Atom]:
        """The values of which a value is a linear function; empty at a start."""
        flow = self.flow
        if number in flow.entry:
            op, _, i = flow.entry[number]
            carried = op.loop is not None and op.loop.carries(i)
            before = [] if carried else flow.before(number)
        elif number not in flow.maker:
            return []
        else:
            op = flow.maker[number][0]
            before = [] if not op.enterable and self.stops(op) else flow.before(number)
        return [a for a in before if flow.kind_of(a) & DATA]

    def siblings(self, op: Op) -> set[int]:
        """The other products, by identity, that share a root with this one."""
        own = self.roots(op) if id(op) in self.weight else frozenset[int]()
        return {id(o) for o in self.ops if o is not op and own & self.roots(o)}

    def require_one_kind(self) -> None:
        """Raise for a weight that is a synapse and a gain on paths to the same values.

        This happens in an associative scan with powers of one decay: a second copy
        would replace only some of them.
        """
        gains = [op for op in self.ops if not self.verdict(op).reason]
        for op in (op for op in self.ops if self.verdict(op).reason):
            leaves, siblings = self._leaves(op), self.siblings(op)
            for gain in gains:
                related = id(gain) in siblings and leaves & self._leaves(gain)
                if related and self._ends_of(op) & self._ends_of(gain):
                    raise ValueError(
                        f"One weight adds up an activity at {op.where} and scales it "
                        f"at {gain.where}, on the way to the same values, so a copy "
                        "would stand in for a part of it. Write an `associative_scan` "
                        "with a learned decay as `lax.scan`; elsewhere mark the result "
                        "of one of the two with `apical.node`."
                    )

    def _leaves(self, op: Op) -> frozenset[int]:
        return self.flow.raw_of(op.inputs[self.weight[id(op)]])

    # --------------------------------------------------------------------- the fans

    def fans(self, op: Op) -> tuple[int, int]:
        """The fan-in and fan-out: entries summed per output, outputs reached per entry.

        Products with the same roots and the same ends are one synapse. The fans are the
        number of entries of the products, divided by that of the ends, and of the
        roots.
        """
        siblings, ends = self.siblings(op), self._ends_of(op)
        group = [
            other
            for other in self.ops
            if other is op
            or (
                id(other) in siblings
                and self.verdict(other).reason
                and self._ends_of(other) & ends
            )
        ]
        made = sum(self._size(o.outputs[0]) for o in group)
        before = sum(map(self._size, frozenset[int]().union(*map(self.roots, group))))
        after = sum(map(self._size, ends))
        return max(1, round(made / max(after, 1))), max(1, round(made / max(before, 1)))

    def _ends_of(self, op: Op) -> frozenset[int]:
        """The values at which the region after a product ends."""
        if id(op) not in self._lowest:
            self._lowest[id(op)] = self._find_ends(op)
        return self._lowest[id(op)]

    def _find_ends(self, op: Op) -> frozenset[int]:
        flow, first = self.flow, op.outputs[0]
        found, seen, stack = set[int](), set[int](), [first]
        while stack:
            number = stack.pop()
            if number in seen or number not in flow.live:
                continue
            seen.add(number)
            last = number == flow.program.body.outputs[0]
            stopped = any(map(self.stops, self._readers(number)))
            if last or stopped or (number != first and self.ends(number)):
                found.add(self._unrepeated(number))
            else:
                stack += flow.after(number)
        return frozenset(found)

    def _unrepeated(self, number: int) -> int:
        """The value before it was repeated along some axes."""
        while number in self.flow.maker:
            op = self.flow.maker[number][0]
            if op.name not in ("broadcast_in_dim", "reshape", "squeeze", "expand_dims"):
                break
            (number,) = (a for a in op.inputs[:1] if not isinstance(a, Literal))
        return number

    def _size(self, number: int) -> int:
        """The number of distinct entries of a value, over all steps of its loops."""
        flow, size = self.flow, 1
        shape = flow.shape(number)
        for axis in flow.axes.of(number):
            size *= shape[axis]
        loops: tuple[int, ...] = ()
        if number in flow.entry:
            op = flow.entry[number][0]
            inner = () if op.loop is None else (op.loop.length,)
            loops = (*self._loops.get(id(op), ()), *inner)
        elif number in flow.maker:
            loops = self._loops.get(id(flow.maker[number][0]), ())
        for length in loops:
            size *= length
        return size
