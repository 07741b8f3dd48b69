"""The filtered activity by which a leaky read-out carries credit from call to call.

    o_t = kappa o_{t-1} + c (W a_t + b)    so that    o_t = W a^_t + b beta_t + ...,
    a^_t = kappa a^_{t-1} + c a_t,         beta_t = kappa beta_{t-1} + c

A filter with one factor commutes with the synapse before it. So the derivative of the
read-out at the start of a call is that of the filtered activity a^, whose derivative
with respect to the weights of the units is kept as a trace (the filtered eligibility
trace of Bellec et al. 2020, equation 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..._jaxpr import Atom, Literal, Op
from .._steps._step import Step
from .._units._entry_groups import NONE, SEVERAL
from .._units._units import Units
from ._readouts import LoopParts

_SHAPED = frozenset({"convert_element_type", "copy", "copy_p", "reduce_precision"})


@dataclass(frozen=True)
class Factor:
    """A product of fixed numbers: the sign, and each atom with its power, 1 or -1."""

    sign: float = 1.0
    atoms: tuple[tuple[Atom, int], ...] = ()

    def value(self, fixed: dict[int, Any]) -> Any:
        """The number."""
        found: Any = jnp.asarray(self.sign)
        for atom, power in self.atoms:
            x = atom.value if isinstance(atom, Literal) else fixed[atom]
            x = jnp.ravel(jnp.asarray(x))[0]
            found = found * x if power > 0 else found / x
        return found


@dataclass(frozen=True, eq=False)
class ReadoutFilter:
    """What enters a read-out, besides itself.

    Attributes:
      carry: the position of the read-out among the carries of the loop.
      decays: the factors of the read-out itself, whose sum is kappa: two where it is
        written `o + (x - o) / tau`.
      synapses: the synapses of the units' part whose outputs it adds, and the factor.
      biases: the fixed variables that it adds, and the factor.
    """

    carry: int
    decays: tuple[Factor, ...]
    synapses: tuple[tuple[int, Factor], ...]
    biases: tuple[tuple[int, Factor], ...]

    def decay(self, fixed: dict[int, Any]) -> Any:
        """Kappa."""
        return sum(factor.value(fixed) for factor in self.decays)


class UnfilteredError(ValueError):
    """A read-out whose credit cannot be carried by filtered activity."""


def readout_filter(parts: LoopParts, units: Units, carry: int) -> ReadoutFilter:
    """What enters a read-out.

    Raises:
      UnfilteredError: if something else enters it than itself, outputs of synapses of
        units' activity, and biases, each times a fixed number.
    """
    whole, step = parts.whole, parts.units
    start, end = whole.carries[carry], whole.carried[carry]
    decays: list[Factor] = []
    synapses: list[tuple[int, Factor]] = []
    biases: list[tuple[int, Factor]] = []
    maker = {n: op for op in whole.ops for n in op.outputs}
    outputs = {s.output: i for i, s in enumerate(step.synapses)}
    shape = whole.shape(start)

    def visit(atom: Atom, factor: Factor) -> None:
        if isinstance(atom, Literal):
            return
        if atom == start:
            decays.append(factor)
        elif not whole.learns(atom):
            return
        elif atom not in whole.changing:
            biases.append((atom, factor))
        elif atom in outputs and step.shape(atom) == shape:
            synapses.append((outputs[atom], factor))
        elif atom in maker:
            _through(whole, maker[atom], factor, visit)
        else:
            raise UnfilteredError("an input of the loop enters it")

    visit(end, Factor())
    if not decays or any(_learned(whole, a) for d in decays for a, _ in d.atoms):
        raise UnfilteredError("its decay is learned, or not one number")
    if not synapses:
        raise UnfilteredError("no synapse of units enters it")
    for i, _ in synapses:
        _require_units(step, units, i)
    return ReadoutFilter(carry, tuple(decays), tuple(synapses), tuple(biases))


def _through(step: Step, op: Op, factor: Factor, visit: Any) -> None:
    """Visit the operands of an operation of one shape that is linear in them."""
    same = step.shape(op.outputs[0])
    if op.name in ("add", "add_any", "sub"):
        negative = Factor(-factor.sign, factor.atoms)
        visit(op.inputs[0], factor)
        visit(op.inputs[1], negative if op.name == "sub" else factor)
    elif op.name == "neg":
        visit(op.inputs[0], Factor(-factor.sign, factor.atoms))
    elif op.name in _SHAPED and step.shape(op.inputs[0]) == same:
        visit(op.inputs[0], factor)
    elif op.name in ("mul", "div"):
        numbers = [_is_number(step, a) for a in op.inputs]
        at = 1 if numbers[1] else 0
        if not numbers[at] or (op.name == "div" and at == 0):
            raise UnfilteredError(f"`{op.name}` at {op.where} is no fixed factor")
        power = -1 if op.name == "div" else 1
        atoms = (*factor.atoms, (op.inputs[at], power))
        visit(op.inputs[1 - at], Factor(factor.sign, atoms))
    else:
        raise UnfilteredError(f"`{op.name}` at {op.where} enters it")


def _is_number(step: Step, atom: Atom) -> bool:
    if isinstance(atom, Literal):
        return atom.value.size == 1
    fixed = atom not in step.changing and not step.learns(atom)
    return fixed and not step.flow.axes.of(atom)


def _learned(step: Step, atom: Atom) -> bool:
    return not isinstance(atom, Literal) and step.learns(atom)


def _require_units(step: Step, units: Units, i: int) -> None:
    """Require that each entry of a synapse's input belongs to one unit, and it alone.

    What reaches it within the step drives the units: so it has traces.
    """
    source = step.synapses[i].input
    assert isinstance(source, int)
    origin = units.origin.get(source)
    if origin is None:
        raise UnfilteredError("it reads no state of units")
    there = origin[origin != NONE]
    if (there == SEVERAL).any() or len(np.unique(there)) < len(there):
        raise UnfilteredError("it reads a unit twice")
    needed = {source}
    for op in reversed(step.ops):
        if needed.isdisjoint(op.outputs) or op.name == "stop_gradient":
            continue
        at = step.synapse_at.get(id(op))
        if at is None:
            needed.update(a for a in op.inputs if not isinstance(a, Literal))
        elif units.driven(op.outputs[0]) is None:
            raise UnfilteredError(
                f"the synapse at {op.where} reaches it within the step without a trace"
            )


def entry_of_unit(units: Units, source: int) -> np.ndarray:
    """The entry of an activity that belongs to each unit; the size where none does.

    The last row stands for no unit.
    """
    origin = units.origin[source].ravel()
    found = np.full(len(units.sizes) + 1, len(origin))
    there = origin >= 0
    found[origin[there]] = np.flatnonzero(there)
    return found
