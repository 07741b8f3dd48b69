"""Synapses: where an effective weight meets data, and as a reader sees them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .._jaxpr import Atom, Literal, Op
from ._dataflow import DATA, Flow
from ._graph import walk
from ._primitives import LINEAR_NOT_REWRITTEN, holds_synaptic, is_identity
from ._products import Products


@dataclass(frozen=True, eq=False)
class WeightedOp:
    """A linear operation where an effective weight meets a value made from data.

    `weight` is the position of the weight among the operands, None in an operation
    that is not rewritten (its user-written derivative, say, stands as it is).
    """

    op: Op
    weight: int | None
    leaves: frozenset[int]
    loops: tuple[int, ...]

    @property
    def activities(self) -> tuple[Atom, ...]:
        """The operands other than the weight."""
        inputs = enumerate(self.op.inputs)
        return tuple(a for i, a in inputs if i != self.weight)


@dataclass(frozen=True)
class Synapse:
    """A linear operation where an effective weight meets a value made from data.

    Attributes:
      name: the paths of the parameters that make the effective weight.
      operation: `dot_general`, `conv_general_dilated`, `mul`, or the operation whose
        inside could not be rewritten.
      weight: the position of the weight among the operands; None if not rewritten.
      shape: the shape of the effective weight.
      fan_in: how many inputs one output sums.
      fan_out: how many outputs one input reaches.
      direct: whether the effective weight is one leaf, only rearranged.
      loops: the lengths of the loops around it.
      scope: the names of the modules or functions that compute it.
      where: the line that computes it.
    """

    name: str
    operation: str
    weight: int | None
    shape: tuple[int, ...]
    fan_in: int
    fan_out: int
    direct: bool
    leaves: tuple[int, ...]
    loops: tuple[int, ...]
    scope: str
    where: str


def weighted_ops(flow: Flow, products: Products) -> list[WeightedOp]:
    """The synapses of a program, in program order."""
    found: list[WeightedOp] = []
    for site in walk(flow.program.body):
        op = site.op
        if id(op) in products.weight:
            weight = products.weight[id(op)] if products.verdict(op).reason else None
        else:
            weight = flow.weight_of(op)
        leaves = frozenset() if weight is None else flow.raw_of(op.inputs[weight])
        if leaves:
            found.append(WeightedOp(op, weight, leaves, site.loops))
        elif _is_not_rewritten(flow, op):
            found.append(WeightedOp(op, None, flow.raw_into(op), site.loops))
    return found


def _is_not_rewritten(flow: Flow, op: Op) -> bool:
    linear = op.name in LINEAR_NOT_REWRITTEN or holds_synaptic(op)
    meets = any(flow.kind_of(a) & DATA for a in op.inputs)
    return linear and meets and not op.enterable and bool(flow.raw_into(op))


def gains(flow: Flow, products: Products) -> list[WeightedOp]:
    """Products that scale an activity entry by entry, in program order."""
    found: list[WeightedOp] = []
    for site in walk(flow.program.body):
        op, weight = site.op, products.weight.get(id(site.op))
        if weight is None or products.verdict(op).reason:
            continue
        leaves = flow.raw_of(op.inputs[weight])
        if leaves and flow.is_activity(op.inputs[1 - weight]):
            found.append(WeightedOp(op, weight, leaves, site.loops))
    return found


def leaves_of(found: Iterable[WeightedOp]) -> tuple[int, ...]:
    """The leaves, by position, that are weights in any of these operations."""
    return tuple(sorted(frozenset[int]().union(*(m.leaves for m in found))))


def make_synapses(
    flow: Flow, products: Products, found: Sequence[WeightedOp], paths: Sequence[str]
) -> tuple[Synapse, ...]:
    """A `Synapse` for each meeting, in order."""
    return tuple(_synapse(flow, products, m, paths) for m in found)


def _synapse(
    flow: Flow, products: Products, found: WeightedOp, paths: Sequence[str]
) -> Synapse:
    op, leaves = found.op, sorted(found.leaves)
    shape = () if found.weight is None else flow.shape(op.inputs[found.weight])
    if 0 in shape:
        raise ValueError(
            f"The weight {' + '.join(paths[i] for i in leaves)!r} at {op.where} has "
            f"shape {shape}: it holds no number. Leave that layer out."
        )
    if id(op) in products.weight:
        fan_in, fan_out = products.fans(op)
    else:
        fan_in, fan_out = _fans(op, found.weight, shape)
    return Synapse(
        name=" + ".join(paths[i] for i in leaves),
        operation=op.name,
        weight=found.weight,
        shape=shape,
        fan_in=fan_in,
        fan_out=fan_out,
        direct=found.weight is not None and _is_direct(flow, op.inputs[found.weight]),
        leaves=tuple(leaves),
        loops=found.loops,
        scope=op.scope,
        where=op.where,
    )


def _fans(op: Op, weight: int | None, shape: Any) -> tuple[int, int]:
    """Sizes of the summed axes and of the axes that reach the output."""
    if weight is None:
        return 1, 1
    if op.name == "dot_general":
        contracted, shared = op.params["dimension_numbers"]
        summed = math.prod(shape[i] for i in contracted[weight])
        return summed, math.prod(shape) // summed // math.prod(
            shape[i] for i in shared[weight]
        )
    numbers = op.params["dimension_numbers"].rhs_spec
    window = math.prod(shape[i] for i in numbers[2:])
    groups = op.params["feature_group_count"] * op.params["batch_group_count"]
    return shape[numbers[1]] * window, shape[numbers[0]] * window // groups


def _is_direct(flow: Flow, atom: Any) -> bool:
    """Whether a weight is one leaf, only rearranged or bound to a loop."""
    while not isinstance(atom, Literal):
        if atom in flow.entry:
            op, _, i = flow.entry[atom]
            atom = op.inputs[i + 1] if op.name == "cond" else op.inputs[i]
        elif atom not in flow.maker:
            return True
        else:
            op = flow.maker[atom][0]
            sources = [a for a in op.inputs if flow.raw_of(a)]
            if op.enterable or not is_identity(op) or len(sources) != 1:
                return False
            if op.name in ("concatenate", "pad", "stack"):
                return False
            atom = sources[0]
    return False
