"""Which entries of each value depend on which of some given entries.

A dependence is a sparse matrix of booleans: a row for each entry of a value, a column
for each given entry. Operations that work entry by entry, rearrange or add link entries
as they do; a product with a weight links what the weight's entries join, unless they
are zero (`Zeros`); any other operation links every entry of its operands to every entry
of its results. Only what has a derivative depends on anything: nothing passes through
integers, comparisons and `stop_gradient`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._analysis._primitives import SYNAPTIC
from ..._jaxpr import Atom, Literal, Op, Program
from .._units._entry_groups import Groups, entry_groups
from ._structural_zeros import Zeros

# Linear in each operand that is no index.
_LINEAR = frozenset(
    {"conv_general_dilated", "scatter", "scatter-add", "scatter_add", "cumsum"}
    | {"dynamic_slice", "dynamic_update_slice"}
)
_AT_ONCE = 256  # entries of an operand whose effects are found at once


class Dependence:
    """The dependence of the values of a program on `columns` given entries.

    Attributes:
      zeros: what is known of the values.
      visit: is shown each scan; it returns whether it has found what the scan returns.
    """

    def __init__(
        self,
        program: Program,
        columns: int,
        visit: Callable[[Dependence, Op], bool] = lambda _, op: False,
    ) -> None:
        self.program, self.columns, self.visit = program, columns, visit
        self.zeros = Zeros(program)
        self._rows: dict[int, Any] = {}
        self._all_dtypes = False

    def another(self, columns: int) -> Dependence:
        """What is known of values, without the dependence."""
        made = Dependence(self.program, columns)
        made.zeros = self.zeros
        return made

    def of(self, atom: Atom) -> Any:
        """The dependence of a value; None if it depends on nothing."""
        return None if isinstance(atom, Literal) else self._rows.get(atom)

    def set(self, number: int, rows: Any) -> None:
        """Say what a value depends on; None: on nothing."""
        self._rows.pop(number, None)
        if rows is not None and rows.nnz:
            self._rows[number] = rows

    def size(self, atom: Atom) -> int:
        """The number of entries of a value."""
        return math.prod(self.zeros.shape(atom))

    def run(self, ops: Sequence[Op]) -> None:
        """Follow some operations, in order."""
        for op in ops:
            if op.loop is not None:
                if not self.visit(self, op):
                    self._scan(op)
            elif op.enterable:
                self._branches(op)
            elif op.name.startswith("custom_jvp") and not self._is_entrywise(op):
                self._derived_by_hand(op)
            else:
                self._plain(op)

    def slices(self, number: int, stacked: Atom, length: int) -> None:
        """Let a variable be any of the slices of a value."""
        self.zeros.forget(number)
        rows, there = self.of(stacked), self.zeros.there(stacked)
        size = self.size(number)
        if rows is not None:
            at = np.tile(np.arange(size), length)
            rows = indicator(at, size).T @ rows
        self.set(number, rows)
        if there is not None:
            self.zeros.say(number, np.any(there, axis=0))

    def bind(self, numbers: Sequence[int], atoms: Sequence[Atom]) -> None:
        """Let variables stand for other values."""
        for number, atom in zip(numbers, atoms, strict=True):
            self.set(number, self.of(atom))
            self.zeros.bind(number, atom)

    # ---- Operations.

    def _plain(self, op: Op) -> None:
        found = [self._of_results(op, i) for i in range(len(op.inputs))]
        self.zeros.after(op)
        for k, number in enumerate(op.outputs):
            parts = [each[k] for each in found if each is not None]
            rows = _total(parts)
            there = self.zeros.there(number)
            if rows is not None and there is not None:
                rows = _kept(there.ravel()) @ rows
            self.set(number, rows if self._passes(number) else None)

    def _of_results(self, op: Op, i: int) -> list[Any] | None:
        """What each result depends on through one operand."""
        rows = self.of(op.inputs[i])
        if rows is None or (op.name == "stop_gradient" and not self._all_dtypes):
            return None
        if op.name == "dot_general" and op.params["dimension_numbers"][0][0]:
            return [self._dot_general(op, i) @ rows]
        if op.name in _LINEAR:
            effects = self._effects(op, i)
            if effects is not None:
                return [effects @ rows]
        if op.name == "select_n" and i > 0:
            index = self.zeros.known(op.inputs[0])
            if index is not None:
                index = np.broadcast_to(index, self.zeros.shape(op.outputs[0]))
                rows = _kept(index.ravel().astype(int) == i - 1) @ rows
        shapes = list(map(self.zeros.shape, op.inputs))
        results = list(map(self.zeros.shape, op.outputs))
        known = lambda j: self.zeros.known(op.inputs[j])  # noqa: E731
        groups = entry_groups(op, i, shapes, results, known)
        return [_linked(g, rows) for g in groups]

    def _dot_general(self, op: Op, i: int) -> Any:
        """Which entries of a product read which entries of an operand."""
        contracted, shared = op.params["dimension_numbers"]
        shapes = [self.zeros.shape(a) for a in op.inputs]
        free = [
            [a for a in range(len(s)) if a not in contracted[j] and a not in shared[j]]
            for j, s in enumerate(shapes)
        ]
        groups = (shared[0], *free[:1], contracted[0])
        lengths = [math.prod(shapes[0][a] for a in axes) for axes in groups]
        lengths.append(math.prod(shapes[1][a] for a in free[1]))
        b, m, k, n = np.ogrid[tuple(slice(x) for x in lengths)]
        left = _ordered(shapes[0], (*shared[0], *free[0], *contracted[0]))
        right = _ordered(shapes[1], (*shared[1], *contracted[1], *free[1]))
        ends = (
            left[(b * lengths[1] + m) * lengths[2] + k],
            right[(b * lengths[2] + k) * lengths[3] + n],
        )
        made = (b * lengths[1] + m) * lengths[3] + n
        made, one, other = (
            np.broadcast_to(x, lengths).ravel() for x in (made, ends[i], ends[1 - i])
        )
        there = self.zeros.there(op.inputs[1 - i])
        if there is not None:
            met = there.ravel()[other]
            made, one = made[met], one[met]
        return _matrix(made, one, (self.size(op.outputs[0]), self.size(op.inputs[i])))

    def _effects(self, op: Op, i: int) -> Any:
        """The same of an operation that is linear in the operand, by trying it.

        None if it has an index that is not known.
        """
        from scipy.sparse import csr_matrix, vstack

        given: list[Any] = []
        for atom in op.inputs:
            value, dtype = self.zeros.known(atom), self.zeros.dtype(atom)
            if jnp.issubdtype(dtype, jnp.integer):
                if value is None:
                    return None
                given.append(value)
                continue
            # The other factor of a convolution; zeros in place of what is added to.
            there = self.zeros.there(atom) if op.name in SYNAPTIC else False
            shape, ones = self.zeros.shape(atom), True if there is None else there
            given.append(jnp.broadcast_to(jnp.asarray(ones, dtype), shape))
        size, like = self.size(op.inputs[i]), given[i]

        def effect(j: Any) -> Any:
            one = (jnp.arange(size) == j).astype(like.dtype).reshape(like.shape)
            return op(*given[:i], one, *given[i + 1 :])[0].ravel()

        parts: list[Any] = []
        for start in range(0, size, _AT_ONCE):
            here = jnp.arange(start, min(start + _AT_ONCE, size))
            parts.append(csr_matrix(np.asarray(jax.vmap(effect)(here)) != 0))
        return vstack(parts).T.tocsr()

    # ---- Operations with a body.

    def _branches(self, op: Op) -> None:
        found: list[list[Any]] = []
        for body in op.bodies:
            self.bind(body.inputs, op.operands)
            self.run(body.ops)
            found.append([self.of(a) for a in body.outputs])
        for k, number in enumerate(op.outputs):
            self.zeros.forget(number)
            self.set(number, _total([rows[k] for rows in found]))
            if len(op.bodies) == 1:
                self.zeros.bind(number, op.bodies[0].outputs[k])

    def _derived_by_hand(self, op: Op) -> None:
        """A function whose derivative may pass where that of its body does not."""
        (body,), before = op.bodies, self._all_dtypes
        self._all_dtypes = True
        self.bind(body.inputs, op.inputs)
        self.run(body.ops)
        self._all_dtypes = before
        for number, atom in zip(op.outputs, body.outputs, strict=True):
            self.zeros.forget(number)
            self.set(number, self.of(atom) if self._passes(number) else None)

    def _scan(self, op: Op) -> None:
        (body,), loop = op.bodies, op.loop
        assert loop is not None
        first = loop.consts + loop.carry
        self.bind(body.inputs[: loop.consts], op.inputs[: loop.consts])
        for number, atom in zip(body.inputs[first:], op.inputs[first:], strict=True):
            self.slices(number, atom, loop.length)
        carry = [self.of(a) for a in op.inputs[loop.consts : first]]
        while True:  # dependence only grows, so this ends
            numbers = body.inputs[loop.consts : first]
            for number, rows in zip(numbers, carry, strict=True):
                self.zeros.forget(number)
                self.set(number, rows)
            self.run(body.ops)
            outs = [self.of(a) for a in body.outputs]
            joined = [_total(pair) for pair in zip(carry, outs, strict=False)]
            if list(map(_count, joined)) == list(map(_count, carry)):
                break
            carry = joined
        for k, number in enumerate(op.outputs):
            self.zeros.forget(number)
            rows = carry[k] if k < loop.carry else outs[k]
            if k >= loop.carry and rows is not None:
                at = np.tile(np.arange(rows.shape[0]), loop.length)
                rows = rows[at]
            self.set(number, rows)

    # ---- Properties.

    def _passes(self, number: int) -> bool:
        dtype = self.zeros.dtype(number)
        return self._all_dtypes or jnp.issubdtype(dtype, jnp.inexact)

    def _is_entrywise(self, op: Op) -> bool:
        shapes = list(map(self.zeros.shape, op.inputs))
        results = list(map(self.zeros.shape, op.outputs))
        found = (
            entry_groups(op, i, shapes, results, lambda _: None)
            for i in range(len(op.inputs))
        )
        return all(g.operand is None for groups in found for g in groups)


def _ordered(shape: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    """The position of each entry, in another order of the axes."""
    return np.arange(math.prod(shape)).reshape(shape).transpose(axes).ravel()


def _linked(groups: Groups, rows: Any) -> Any:
    """The dependence of a result whose entries are grouped with an operand's."""
    if groups.operand is not None:
        count = int(max(groups.operand.max(initial=0), groups.result.max(initial=0)))
        there = groups.operand >= 0
        at = np.where(there, groups.operand, 0)
        rows = indicator(at, count + 1).T @ (_kept(there) @ rows)
    there = groups.result >= 0
    at = np.where(there, groups.result, 0)
    return _kept(there) @ indicator(at, rows.shape[0]) @ rows


def _matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix((np.ones(len(rows), bool), (rows, columns)), shape)


def indicator(at: np.ndarray, count: int) -> Any:
    """A row for each number, with an entry in its column."""
    return _matrix(np.arange(len(at)), at, (len(at), count))


def _kept(there: np.ndarray) -> Any:
    """A diagonal of booleans."""
    (at,) = np.nonzero(there)
    return _matrix(at, at, (len(there), len(there)))


def _total(parts: Iterator[Any] | Sequence[Any]) -> Any:
    """What depends on anything that some parts depend on."""
    found = None
    for rows in parts:
        if rows is not None:
            found = rows if found is None else found + rows
    return found


def _count(rows: Any) -> int:
    return 0 if rows is None else rows.nnz


def identity(count: int, first: int, columns: int) -> Any:
    """Entries that depend on themselves: given entries from some position."""
    at = np.arange(count)
    return _matrix(at, first + at, (count, columns))


def any_of(count: int, column: int, columns: int) -> Any:
    """Entries that all depend on one given entry."""
    return _matrix(np.arange(count), np.full(count, column), (count, columns))
