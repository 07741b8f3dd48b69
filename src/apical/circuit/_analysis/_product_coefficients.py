"""Propagation of the coefficients of a product until two different ones are added.

Every entry of a value after a product has a *label*, the number of its coefficient:
entries of the weight are numbered, and equal labels mean equal coefficients. Axes along
which labels do not differ have size 1, so labels are no larger than weights. Operations
that move entries move their labels (`_coefficient_labels`); a sum of different labels
raises `Added`.

Other products of the same activity are followed at the same time (two taps of a
convolution are two products); only sums that include the product itself count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from .._jaxpr import Atom, Body, Literal, Op, is_concrete
from . import _coefficient_labels as label
from ._coefficient_labels import Labels
from ._dataflow import CONSTANT, Flow
from ._primitives import ELEMENTWISE_LINEAR, LINEAR_SELECTIONS, STRUCTURAL
from ._varying_axes import dot_axes

_STEPS = 3  # the steps of a loop that are followed
_LARGEST = 1 << 22  # maximum size of labels; larger arrays get a single label
_MOVING = STRUCTURAL | {"dynamic_update_slice", "scatter"}


class Added(Exception):
    """Two entries with different coefficients were added."""

    def __init__(self, op: Op) -> None:
        super().__init__(op.where)
        self.where, self.operation = op.where, op.name


class _Region(Protocol):
    """The region after a product, as `Products` describes it."""

    flow: Flow
    weight: dict[int, int]

    def siblings(self, op: Op) -> set[int]: ...
    def stops(self, op: Op) -> bool: ...
    def ends(self, number: int) -> bool: ...


def follow(region: _Region, product: Op, weight: int) -> None:
    """Follow a product, with its weight at this operand, to the ends of its region.

    Raises:
      Added: if two of its entries with different coefficients are added on the way.
    """
    _Walk(region, product, weight)


class _Walk:
    def __init__(self, region: _Region, own: Op, weight: int) -> None:
        self.region, self.flow, self.own = region, region.flow, own
        self.own_weight = weight
        self.wanted = {id(own), *region.siblings(own)}
        self.labels: dict[int, Labels] = {}
        self.numbered: dict[Any, int] = {}  # the first label of each weight
        self.next = 0
        self.steps: dict[int, int] = {}  # the current step of each loop
        self.holders = self._holders(self.flow.program.body)
        # Indices are computed as concrete values, even under a transformation.
        with jax.ensure_compile_time_eval():
            self.body(self.flow.program.body)

    def _holders(self, body: Body) -> set[int]:
        """The operations that contain one of the products, at any depth."""
        found: set[int] = set()
        for op in body.ops:
            for inner in op.bodies if op.enterable else ():
                deeper = self._holders(inner)
                if deeper or any(id(o) in self.wanted for o in inner.ops):
                    found |= {id(op), *deeper}
        return found

    def get(self, atom: Atom) -> Labels | None:
        return None if isinstance(atom, Literal) else self.labels.get(atom)

    def put(self, number: int, labels: Labels | None) -> None:
        self.labels.pop(number, None)
        if labels is None or self.region.ends(number) or not (labels >= 0).any():
            return
        self.labels[number] = labels

    # -------------------------------------------------------------- the operations

    def body(self, body: Body) -> None:
        for op in body.ops:
            given = any(self.get(a) is not None for a in op.inputs)
            if op.enterable:
                if given or id(op) in self.holders:
                    (self.scan if op.name == "scan" else self.branches)(op)
            elif id(op) in self.wanted:
                self.put(op.outputs[0], self.product(op))
            elif given and self.goes_on(op):
                for number, labels in zip(op.outputs, self.through(op), strict=True):
                    self.put(number, labels)

    def goes_on(self, op: Op) -> bool:
        active = any(map(self.flow.is_activity, op.outputs))
        return active and not self.region.stops(op)

    def product(self, op: Op) -> Labels:
        """The labels of a product: those of its weight, or those of its operand."""
        weight = self.own_weight if op is self.own else self.region.weight[id(op)]
        labels = label.mark(self.weights(op.inputs[weight]), own=op is self.own)
        rank = len(self.flow.shape(op.outputs[0]))
        if op.name == "dot_general":
            labels = self.dot(op, weight, labels)
        labels = label.of_rank(labels, rank)
        before = self.get(op.inputs[1 - weight])
        if op is self.own or before is None:
            return labels
        return label.prefer(label.of_rank(before, rank), labels)

    def through(self, op: Op) -> Sequence[Labels | None]:
        """The labels of the results of a linear operation."""
        given = [self.get(a) for a in op.inputs]
        first = next(i for i, labels in enumerate(given) if labels is not None)
        there = [labels for labels in given if labels is not None]
        labels, params = there[0], op.params
        rank = len(self.flow.shape(op.outputs[0]))
        if op.name == "select_n":  # one of them at each entry: nothing is added
            return [
                self.one_of(
                    op.outputs[0], [label.of_rank(each, rank) for each in there]
                )
            ]
        if op.name in ELEMENTWISE_LINEAR or op.name in LINEAR_SELECTIONS:
            return [self.joined(op, [label.of_rank(each, rank) for each in there])]
        if op.name == "reduce_sum":
            return [self.added(op, labels, params["axes"]).squeeze(params["axes"])]
        if op.name == "cumsum":
            return [self.added(op, labels, (params["axis"],))]
        if op.name == "reduce_window_sum":
            sizes = enumerate(params["window_dimensions"])
            return [self.added(op, labels, tuple(a for a, n in sizes if n > 1))]
        if op.name == "dot_general":
            summed = params["dimension_numbers"][0][first]
            return [self.dot(op, first, self.added(op, labels, summed))]
        if op.name.replace("_", "-") == "scatter-add" and given[0] is None:
            return [self.scattered(op, labels)]
        if op.name in _MOVING:
            return self.moved(op, given)
        # Any other operation is assumed to add all entries.
        alone = self.added(op, labels, tuple(range(labels.ndim))).max()
        return [
            np.full((1,) * len(self.flow.shape(n)), alone, labels.dtype)
            for n in op.outputs
        ]

    def joined(self, op: Op, labels: Sequence[Labels]) -> Labels:
        found = label.joined(labels)
        if found is None:
            raise Added(op)
        return found

    def added(self, op: Op, labels: Labels, axes: Sequence[int]) -> Labels:
        found = label.added(labels, tuple(axes))
        if found is None:
            raise Added(op)
        return found

    def dot(self, op: Op, i: int, labels: Labels) -> Labels:
        ranks = [len(self.flow.shape(a)) for a in op.inputs]
        return label.placed(
            labels,
            dict(dot_axes(op, i, ranks)),
            len(self.flow.shape(op.outputs[0])),
        )

    def scattered(self, op: Op, updates: Labels) -> Labels:
        """The labels after adding rows at an index: any two rows may be added."""
        numbers, rank = (
            op.params["dimension_numbers"],
            len(self.flow.shape(op.outputs[0])),
        )
        window = list(numbers.update_window_dims)
        rows = tuple(a for a in range(updates.ndim) if a not in window)
        batching = getattr(numbers, "operand_batching_dims", ())
        gone = {*numbers.inserted_window_dims, *batching}
        targets = [a for a in range(rank) if a not in gone]
        places = dict(zip(window, targets, strict=True))
        return label.placed(self.added(op, updates, rows), places, rank)

    def moved(self, op: Op, given: Sequence[Labels | None]) -> Sequence[Labels | None]:
        """The labels after an operation that only moves entries."""
        shapes = [self.flow.shape(a) for a in op.inputs]
        out = self.flow.shape(op.outputs[0])
        known = label.moved(op, given, shapes, out)
        return self.indexed(op, given) if known is None else known

    def indexed(
        self, op: Op, given: Sequence[Labels | None]
    ) -> Sequence[Labels | None]:
        """The labels after a gather or slice, on full arrays if the index is known."""
        values: list[Any] = []
        for labels, atom in zip(given, op.inputs, strict=True):
            shape = self.flow.shape(atom)
            if np.prod(shape, dtype=np.int64) > _LARGEST:
                return self.through_unknown(op, given)
            if labels is not None:
                whole = np.broadcast_to(labels, shape).astype(np.int32)
                values.append(jnp.asarray(whole))
            elif self._is_number(atom):
                values.append(jnp.full(shape, -1, np.int32))
            elif self.flow.kind_of(atom) == CONSTANT:
                values.append(self.concrete(atom))
            else:
                return self.through_unknown(op, given)
        if not is_concrete(values):
            return self.through_unknown(op, given)
        return [np.asarray(found).astype(np.int64) for found in op(*values)]

    def through_unknown(self, op: Op, given: Sequence[Labels | None]) -> Any:
        """The labels after moves that depend on data: any entry may be anywhere."""
        labels = next(g for g in given if g is not None)
        own = bool(label.is_own(labels))
        shape = self.flow.shape(op.outputs[0])
        if np.prod(shape, dtype=np.int64) > _LARGEST:
            raise Added(op)
        fresh = self.fresh((op.outputs[0], "index"), shape)
        return [label.mark(fresh, own=own) for _ in op.outputs]

    def _is_number(self, atom: Atom) -> bool:
        """Whether a value holds numbers, rather than an index or a choice."""
        if isinstance(atom, Literal):
            dtype = jnp.result_type(atom.value)
        else:
            dtype = self.flow.program.shapes[atom].dtype
        return bool(jnp.issubdtype(dtype, jnp.inexact))

    # ------------------------------------------------------------ loops and branches

    def bind(self, op: Op, body: Body, step: int) -> None:
        for i, (atom, number) in enumerate(zip(op.operands, body.inputs, strict=True)):
            if op.loop is not None and op.loop.carries(i) and step:
                continue
            labels = self.get(atom)
            if labels is not None and op.loop is not None and _is_sliced(op, i):
                labels = labels[self.at(op, step) if labels.shape[0] > 1 else 0]
            self.labels.pop(number, None)
            if labels is not None:
                self.labels[number] = labels

    def at(self, op: Op, step: int) -> int:
        assert op.loop is not None
        return op.loop.length - 1 - step if op.loop.reverse else step

    def branches(self, op: Op) -> None:
        outs: list[list[Labels]] = [[] for _ in op.outputs]
        for body in op.bodies:
            self.bind(op, body, 0)
            self.body(body)
            for found, atom in zip(outs, body.outputs, strict=True):
                labels = self.get(atom)
                if labels is not None:
                    found.append(labels)
        for number, found in zip(op.outputs, outs, strict=True):
            self.put(number, self.one_of(number, found) if found else None)

    def one_of(self, key: Any, found: Sequence[Labels]) -> Labels:
        """The labels of a choice: new labels for every entry if they differ."""
        if all(label.same(found[0], each) for each in found[1:]):
            return found[0]
        own = any(map(label.is_own, found))
        shape = np.broadcast_shapes(*(each.shape for each in found))
        return label.mark(self.fresh((key, "one of"), shape), own=own)

    def scan(self, op: Op) -> None:
        (body,), loop = op.bodies, op.loop
        assert loop is not None
        carried = body.inputs[loop.consts : loop.consts + loop.carry]
        stacked: list[list[Labels | None]] = []
        outs: list[Labels | None] = []
        for step in range(min(loop.length, _STEPS)):
            self.steps[id(op)] = step
            self.bind(op, body, step)
            self.body(body)
            outs = [self.get(a) for a in body.outputs]
            for number, labels in zip(carried, outs, strict=False):
                self.labels.pop(number, None)
                if labels is not None:
                    self.labels[number] = labels
            stacked.append(outs[loop.carry :])
        self.steps.pop(id(op), None)
        for number, labels in zip(op.outputs, outs[: loop.carry], strict=False):
            self.put(number, labels)
        columns = zip(*stacked, strict=True)
        for number, column in zip(op.outputs[loop.carry :], columns, strict=True):
            self.put(number, self.stacked(number, column))

    def stacked(self, number: int, column: Sequence[Labels | None]) -> Labels | None:
        """The labels of a stacked output of a loop, one row per step."""
        there = [labels for labels in column if labels is not None]
        if not there:
            return None
        if len(there) == len(column) and all(label.same(c, there[0]) for c in there):
            return there[0][None]
        shapes = np.broadcast_shapes(*(labels.shape for labels in there))
        shape = (self.flow.shape(number)[0], *shapes)
        own = any(map(label.is_own, there))
        return label.mark(self.fresh((number, "steps"), shape), own=own)

    # ---------------------------------------------------------------------- weights

    def fresh(self, key: Any, shape: Sequence[int]) -> np.ndarray:
        """A new number for every entry; the same key gives the same numbers."""
        count = int(np.prod(shape, dtype=np.int64))
        if key not in self.numbered:
            self.numbered[key], self.next = self.next, self.next + count
        return self.numbered[key] + np.arange(count).reshape(shape)

    def weights(self, atom: Atom) -> np.ndarray:
        """The numbers of a weight's entries, moved with them from where it was made."""
        flow, shape = self.flow, self.flow.shape(atom)
        if isinstance(atom, Literal):
            return self.fresh(("literal", id(atom)), shape)
        if atom in flow.entry:
            op, _, i = flow.entry[atom]
            if op.loop is not None and _is_sliced(op, i):
                outer = self.weights(op.inputs[i])
                step = self.at(op, self.steps[id(op)]) if outer.shape[0] > 1 else 0
                return outer[step]
            if op.loop is None or not op.loop.carries(i):
                return self.weights(flow.before(atom)[0])  # type: ignore[arg-type]
        elif atom in flow.maker:
            op, i = flow.maker[atom]
            among = zip(op.inputs, flow.weights_among(op), strict=True)
            sources = [a for a, is_weight in among if is_weight]
            if op.name in ("mul", "div") and len(sources) == 1:
                if atom in flow.modulated:  # its coefficient is the weight's
                    return self.weights(sources[0])
            elif sources and op.name in _MOVING and op.name != "concatenate":
                given = [
                    self.weights(a) if a == sources[0] else None for a in op.inputs
                ]
                found = self.moved(op, given)[i]
                assert found is not None
                return found
        axes = flow.axes.of(atom)
        sizes = [n if axis in axes else 1 for axis, n in enumerate(shape)]
        return self.fresh((atom, self.when(atom)), sizes)

    def when(self, atom: Atom) -> tuple[int, ...]:
        """The steps of the loops on which a weight depends."""
        found, seen, stack = set[int](), set[int](), [atom]
        while stack:
            at = stack.pop()
            if isinstance(at, Literal) or at in seen:
                continue
            seen.add(at)
            if at in self.flow.entry:
                op, _, i = self.flow.entry[at]
                if op.loop is not None and i >= op.loop.consts:
                    found.add(id(op))
                stack.append(op.operands[i])
            elif at in self.flow.maker:
                stack += self.flow.maker[at][0].inputs
        return tuple(self.steps[i] for i in sorted(found) if i in self.steps)

    def concrete(self, atom: Atom) -> Any:
        """The value of a constant, at the current step of the loops."""
        flow = self.flow
        if isinstance(atom, Literal):
            return jnp.asarray(atom.value)
        if atom in flow.program.constants:
            return jnp.asarray(flow.program.constants[atom])
        if atom not in flow.entry:
            op, i = flow.maker[atom]
            return op(*map(self.concrete, op.inputs))[i]
        op, body, i = flow.entry[atom]
        if op.loop is None or i < op.loop.consts:
            return self.concrete(op.operands[i])
        step = self.steps[id(op)]
        if _is_sliced(op, i):
            return self.concrete(op.inputs[i])[self.at(op, step)]
        if step == 0:
            return self.concrete(op.inputs[i])
        self.steps[id(op)] = step - 1
        try:
            return self.concrete(body.outputs[i - op.loop.consts])
        finally:
            self.steps[id(op)] = step


def _is_sliced(op: Op, i: int) -> bool:
    """Whether a loop runs over an operand."""
    return op.loop is not None and i >= op.loop.consts + op.loop.carry
