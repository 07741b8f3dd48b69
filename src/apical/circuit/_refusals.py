"""What a second, backward copy of the parameters could not reach, and why."""

from __future__ import annotations

from dataclasses import dataclass

from ._dataflow import DATA, PARAMETER, Flow
from ._graph import walk
from ._jaxpr import Op, known_primitives
from ._primitives import LINEAR_NOT_REWRITTEN, SYNAPTIC, holds_synaptic

_KNOWN = known_primitives()


@dataclass(frozen=True, eq=False)
class Refusal:
    """Leaves that reach a linear operation that cannot be rewritten, and why."""

    op: Op
    leaves: frozenset[int]
    reason: str


def refusals(flow: Flow) -> list[Refusal]:
    """What a second, backward copy of the parameters could not reach."""
    found = (_refusal(flow, site.op) for site in walk(flow.program.body))
    return [r for r in found if r is not None]


def _refusal(flow: Flow, op: Op) -> Refusal | None:
    if op.enterable or not any(flow.kind_of(a) & DATA for a in op.inputs):
        return None
    if op.name not in _KNOWN and any(flow.kind_of(a) & PARAMETER for a in op.inputs):
        return Refusal(
            op, flow.leaves_before(*op.inputs), f"`{op.name}` is not known to apical"
        )
    if _has_active_kernel(flow, op):
        reason = "it makes a kernel that is an activity, which has no second copy"
        return Refusal(op, flow.leaves_before(op.inputs[1]), reason)
    weights = flow.raw_into(op)
    if not weights:
        return None
    if op.name in SYNAPTIC:
        return _mixed_weight(flow, op)
    if holds_synaptic(op):
        reason = f"inside `{op.name}` it meets data in a linear operation"
        return Refusal(op, weights, f"{reason}, which cannot be rewritten")
    if op.name in LINEAR_NOT_REWRITTEN:
        return Refusal(op, weights, f"it meets data in `{op.name}`, not rewritten")
    return None


def _has_active_kernel(flow: Flow, op: Op) -> bool:
    """Whether the kernel of a convolution is an activity and no weight."""
    convolution = op.name == "conv_general_dilated"
    return convolution and flow.is_activity(op.inputs[1]) and flow.weight_of(op) is None


def _mixed_weight(flow: Flow, op: Op) -> Refusal | None:
    if flow.weight_of(op) is not None:
        return None
    if not all(flow.kind_of(a) & DATA for a in op.inputs[:2]):
        return None  # sums with fixed coefficients, of what was weighted above
    mixed = [a for a in op.inputs[:2] if flow.is_mixed(a)]
    if not mixed:
        return None
    leaves = frozenset[int]().union(*(flow.raw_of(a) for a in mixed))
    reason = "it met data before it reached a linear operation (a mask or an index"
    return Refusal(
        op,
        leaves,
        f"{reason} that is an argument?): say that all examples share it, by None in "
        "`batch`, close over it, or mark the value with `apical.node` if it is an "
        "activity",
    )


def unknowns(flow: Flow) -> list[Op]:
    """Operations on activities or parameters that apical cannot look into."""
    found = []
    for site in walk(flow.program.body):
        touched = any(flow.kind_of(a) & PARAMETER for a in site.op.inputs)
        if touched and not site.op.enterable and site.op.name not in _KNOWN:
            found.append(site.op)
    return found
