"""What a second, backward copy of the parameters could not reach, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ._dataflow import DATA, PARAMETER, Flow
from ._graph import walk
from ._jaxpr import Atom, Literal, Op, known_primitives
from ._nodes import Reach
from ._primitives import LINEAR_NOT_REWRITTEN, SYNAPTIC, holds, holds_synaptic
from ._products import Products

_KNOWN = known_primitives()


@dataclass(frozen=True, eq=False)
class Refusal:
    """Leaves that reach a linear operation that cannot be rewritten, and why."""

    op: Op
    leaves: frozenset[int]
    reason: str

    def message(self, names: Sequence[str]) -> str:
        """What is refused, with the names of the leaves."""
        paths = ", ".join(names[i] for i in sorted(self.leaves))
        where = f"at {self.op.where}: {self.reason}."
        return f"Parameter {paths!r} cannot be given feedback {where}"


def refusals(
    flow: Flow, reach: Mapping[int, Reach], products: Products
) -> list[Refusal]:
    """What a second, backward copy of the parameters could not reach.

    Only where a derivative leads to the loss: no feedback comes by elsewhere.
    """
    sites = [s for s in walk(flow.program.body) if _matters(s.op, reach)]
    found = (_refusal(flow, site.op) for site in sites)
    mixed = (
        _met_data(flow, op, [op.inputs[i]])
        for op, i in products.mixed
        if _matters(op, reach)
    )
    return [*(r for r in found if r is not None), *mixed]


def _matters(op: Op, reach: Mapping[int, Reach]) -> bool:
    return any(reach.get(n) for n in op.outputs)


def _refusal(flow: Flow, op: Op) -> Refusal | None:
    if op.enterable or not any(flow.kind_of(a) & DATA for a in op.inputs):
        return None
    if _has_active_kernel(flow, op):
        reason = "it makes a kernel that is an activity, which has no second copy"
        return Refusal(op, flow.leaves_before(op.inputs[1]), reason)
    weights = flow.raw_into(op)
    if op.name not in _KNOWN and any(flow.kind_of(a) & PARAMETER for a in op.inputs):
        return _unknown(flow, op, weights)
    if not weights:
        return None
    if op.name in SYNAPTIC:
        return _mixed_weight(flow, op)
    if holds_synaptic(op):
        return Refusal(op, weights, _inside(op))
    if op.name in LINEAR_NOT_REWRITTEN:
        return Refusal(op, weights, f"it meets data in `{op.name}`, not rewritten")
    return None


def _has_active_kernel(flow: Flow, op: Op) -> bool:
    """Whether the kernel of a convolution is an activity and no weight."""
    convolution = op.name == "conv_general_dilated"
    return convolution and flow.is_activity(op.inputs[1]) and flow.weight_of(op) is None


def _inside(op: Op) -> str:
    reason = (
        f"inside `{op.name}` it meets data in a linear operation, which cannot be "
        "rewritten"
    )
    if not op.name.startswith("custom_"):
        return reason
    remedy = "Compute it without a derivative rule of its own"
    # As diffrax and equinox differentiate their loops, unless they are told not to.
    if holds(op, frozenset({"while"})):
        remedy += " (diffrax: `diffeqsolve(..., adjoint=diffrax.DirectAdjoint())`)"
    return f"{reason}. {remedy}"


def _unknown(flow: Flow, op: Op, weights: frozenset[int]) -> Refusal | None:
    """Of activities alone it is one more function, with the derivative that it has."""
    if weights:
        return Refusal(
            op, weights, f"it meets data in `{op.name}`, which is not known to apical"
        )
    if not _is_differentiable(flow, op):
        reason = f"`{op.name}`, which JAX cannot differentiate, is behind it"
        return Refusal(op, flow.leaves_before(*op.inputs), reason)
    return None


def _is_differentiable(flow: Flow, op: Op) -> bool:
    def struct(atom: Atom) -> Any:
        return atom.value if isinstance(atom, Literal) else flow.program.shapes[atom]

    moving = [i for i, a in enumerate(op.inputs) if flow.is_activity(a)]
    given = {i: struct(a) for i, a in enumerate(op.inputs)}

    def pulled(given: Any) -> Any:
        def outs(moved: Any) -> Any:
            values = {**given, **dict(zip(moving, moved, strict=True))}
            found = op(*(values[i] for i in range(len(op.inputs))))
            return [x for x in found if jnp.issubdtype(jnp.result_type(x), jnp.inexact)]

        values, pull = jax.vjp(outs, [given[i] for i in moving])
        return pull(values)

    try:
        jax.eval_shape(pulled, given)
    except Exception:  # whatever the package that made it raises there
        return False
    return True


def _mixed_weight(flow: Flow, op: Op) -> Refusal | None:
    if flow.weight_of(op) is not None:
        return None
    if not all(flow.kind_of(a) & DATA for a in op.inputs[:2]):
        return None  # sums with fixed coefficients, of what was weighted above
    mixed = [a for a in op.inputs[:2] if flow.is_mixed(a)]
    return _met_data(flow, op, mixed) if mixed else None


def _met_data(flow: Flow, op: Op, mixed: Sequence[Atom]) -> Refusal:
    leaves = frozenset[int]().union(*(flow.raw_of(a) for a in mixed))
    reason = "it met data before it reached a linear operation (a mask or an index"
    return Refusal(
        op,
        leaves,
        f"{reason} that is an argument?): mark the value with `apical.node` if it is "
        "an activity; if it is a weight, say that all examples share what it met, by "
        "None in `batch`, or close over that",
    )


def unknowns(flow: Flow, reach: Mapping[int, Reach]) -> list[Op]:
    """Operations on activities or parameters that apical cannot look into."""
    found = []
    for site in walk(flow.program.body):
        touched = any(flow.kind_of(a) & PARAMETER for a in site.op.inputs)
        unknown = not site.op.enterable and site.op.name not in _KNOWN
        if touched and unknown and _matters(site.op, reach):
            found.append(site.op)
    return found
