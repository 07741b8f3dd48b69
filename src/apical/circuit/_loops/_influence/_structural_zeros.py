"""Entries of values that are zero whatever the parameters and the data are.

A weight that is multiplied by a constant mask is zero where the mask is. Zeros are
followed through products, sums, selections and rearrangements; the result of any other
operation may differ from zero everywhere. What is constant is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._analysis._primitives import STRUCTURAL, SYNAPTIC
from ..._jaxpr import Atom, Literal, Op, Program, is_concrete

# Of one operand, and 0 at 0.
_ZERO_AT_ZERO = frozenset(
    {"neg", "abs", "sign", "tanh", "sin", "tan", "asin", "atan", "sinh", "asinh"}
    | {"sqrt", "square", "cbrt", "erf", "expm1", "log1p", "real", "imag", "conj"}
    | {"stop_gradient", "integer_pow", "convert_element_type", "reduce_precision"}
)
_RUN = STRUCTURAL | SYNAPTIC | {"reduce_sum", "reduce_max", "cumsum"}
_SUMS = frozenset({"add", "sub", "add_any", "max", "min", "complex"})
_SCATTERS = frozenset({"scatter", "scatter-add", "scatter_add"})


class Zeros:
    """The entries of a program that are known to be zero, and the known values."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._known: dict[int, np.ndarray] = {}
        self._there: dict[int, np.ndarray] = {}
        for number, value in program.constants.items():
            if is_concrete(value) and _is_plain(value):
                self._known[number] = np.asarray(value)

    def shape(self, atom: Atom) -> tuple[int, ...]:
        """The shape of a value."""
        return self._program.shape(atom)

    def dtype(self, atom: Atom) -> Any:
        """The dtype of a value."""
        if isinstance(atom, Literal):
            return np.asarray(atom.value).dtype
        return self._program.shapes[atom].dtype

    def known(self, atom: Atom) -> np.ndarray | None:
        """A value, if it is known now."""
        if isinstance(atom, Literal):
            return np.asarray(atom.value) if _is_plain(atom.value) else None
        return self._known.get(atom)

    def there(self, atom: Atom) -> np.ndarray | None:
        """Which entries may differ from zero; None if all may."""
        value = self.known(atom)
        found = value != 0 if value is not None else None
        if found is None and not isinstance(atom, Literal):
            found = self._there.get(atom)
        return None if found is None or found.all() else found

    def bind(self, number: int, atom: Atom) -> None:
        """Let a variable stand for another value."""
        self.forget(number)
        value = self.known(atom)
        if value is not None:
            self._known[number] = value
        elif not isinstance(atom, Literal) and atom in self._there:
            self._there[number] = self._there[atom]

    def say(self, number: int, there: np.ndarray) -> None:
        """Say which entries of a variable may differ from zero."""
        self.forget(number)
        self._there[number] = there

    def forget(self, number: int) -> None:
        """Let a variable be unknown."""
        self._known.pop(number, None)
        self._there.pop(number, None)

    def after(self, op: Op) -> None:
        """Find the zeros of the results of an operation."""
        for n in op.outputs:
            self.forget(n)
        if op.bodies:
            return
        values = [self.known(a) for a in op.inputs]
        if all(v is not None for v in values) and (values or op.name == "iota"):
            made = op(*values)
            for n, value in zip(op.outputs, made, strict=True):
                if value is not None and _is_plain(value):
                    self._known[n] = np.asarray(value)
            return
        there = [self.there(a) for a in op.inputs]
        if len(op.outputs) == 1 and any(t is not None for t in there):
            found = self._of_result(op, there, values)
            if found is not None:
                shape = self.shape(op.outputs[0])
                self._there[op.outputs[0]] = np.broadcast_to(found, shape)

    def _of_result(self, op: Op, there: Any, values: Any) -> Any:
        every = [
            np.ones(self.shape(a), bool) if t is None else t
            for a, t in zip(op.inputs, there, strict=True)
        ]
        name = op.name
        if name == "mul":
            return every[0] & every[1]
        if name in _SUMS:
            return every[0] | every[1]
        if name == "div":
            return np.broadcast_to(every[0], self.shape(op.outputs[0]))
        if name in _ZERO_AT_ZERO and op.params.get("y", 1) > 0:  # a power
            return every[0]
        if name == "select_n":
            return _selected(values[0], every[1:])
        if name in _RUN or name in _SCATTERS:
            return self._run(op, every, values)
        return None

    def _run(self, op: Op, every: Sequence[np.ndarray], values: Any) -> Any:
        """The operation of ones in place of what may differ from zero."""
        given: list[Any] = []
        for atom, ones, value in zip(op.inputs, every, values, strict=True):
            dtype = self.dtype(atom)
            if value is not None and not jnp.issubdtype(dtype, jnp.inexact):
                given.append(value)  # an index
            elif jnp.issubdtype(dtype, jnp.inexact):
                given.append(jnp.asarray(ones, dtype))
            else:
                return None
        return np.asarray(op(*given)[0]) != 0


def _selected(index: np.ndarray | None, cases: Sequence[np.ndarray]) -> np.ndarray:
    """What may differ from zero in a choice among cases."""
    if index is None:
        return np.any(np.stack(cases), axis=0)
    index = np.broadcast_to(index.astype(int), cases[0].shape)
    return np.choose(index, cases)


def _is_plain(value: Any) -> bool:
    """Whether a value is an array of numbers, and not of keys."""
    if not isinstance(value, (np.ndarray, np.generic, jax.Array, bool, int, float)):
        return False
    return not jnp.issubdtype(jnp.result_type(value), jax.dtypes.extended)
