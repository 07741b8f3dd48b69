"""Loops through which the influence of one parameter is kept where a mask allows.

A step is evaluated as it is written. Its derivative then loses, at the states after it
and at other values of units that read-outs and the loss read, what the mask of their
unit removes: forward-mode differentiation by the parameter gives the column

    J_t = mask * ( D_t J_{t-1} + I_t ).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ..._evaluate._interpreter import Runner, Scope
from ..._evaluate._manual_axes import scan
from ..._jaxpr import Atom, Literal
from .._loop_evaluation import LoopEvaluation
from .._steps._loop_values import fixed_of
from .._steps._step import reads
from .._steps._weight_values import fixed_values
from ._masks import Mask


@jax.custom_jvp
def _masked(x: Any, kept: Any) -> Any:
    """A value whose derivative is kept where `kept` is True."""
    del kept
    return x


@_masked.defjvp
def _(primals: Any, tangents: Any) -> Any:
    x, kept = primals
    moved, _ = tangents
    return x, jnp.where(kept, moved, jnp.zeros_like(moved))


@dataclass(eq=False)
class MaskedLoops(LoopEvaluation):
    """Loops whose derivative by one parameter is masked.

    Attributes:
      column: the position of the parameter among all numbers that are learned.
    """

    column: jax.Array

    def run(
        self, runner: Runner, i: int, scope: Scope, inject: Mapping[str, Any]
    ) -> Sequence[Any]:
        """Run one of the loops."""
        del inject
        mask: Mask = self.loops[i]
        scans, step = mask.scans, mask.scans.step
        starts, xs = scans.given(scope)
        fixed = fixed_of(runner, step, scans.fixed(runner, scope))
        values = fixed_values(step, fixed)
        kept = jnp.asarray(mask.kept)[:, self.column]

        def body(carry: Any, x: Any) -> Any:
            return _step(mask, kept, values, carry, x)

        last, ys = scan(
            body,
            starts,
            xs,
            length=scans.length,
            reverse=scans.reverse,
            unroll=scans.unroll,
        )
        return scans.returned(scope, last, ys)


def _step(mask: Mask, kept: Any, fixed: Any, carry: Any, xs: Any) -> Any:
    """The carry after a step, and its outputs."""
    step = mask.scans.step
    # What the step computes, and what is seen of it after it: with masks.
    values = dict(fixed)
    values.update(zip(step.carries, carry, strict=True))
    values.update(zip(step.xs, xs, strict=True))
    seen = dict[int, Any]()

    def read(atom: Atom, first: dict[int, Any]) -> Any:
        if isinstance(atom, Literal):
            return atom.value
        return first.get(atom, values[atom])

    def see(n: int) -> None:
        if n in mask.units and n not in step.carries:
            seen[n] = _masked(values[n], kept[mask.units[n]])

    for n in step.xs:
        see(n)
    for op in step.ops:
        outs = op(*(read(a, {}) for a in op.inputs))
        values.update(zip(op.outputs, outs, strict=True))
        if not seen.keys().isdisjoint(reads(op)):
            again = op(*(read(a, seen) for a in op.inputs))
            seen.update(zip(op.outputs, again, strict=True))
        for n in op.outputs:
            see(n)
    ends = [read(a, seen) for a in (*step.carried, *step.ys)]
    count = len(step.carried)
    return ends[:count], ends[count:]
