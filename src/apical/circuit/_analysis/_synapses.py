"""Synapses, gains, and weights that cannot have feedback."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from .._jaxpr import Atom, Literal, Op, known_primitives
from ._dataflow import DATA, PARAMETER, Flow
from ._gain_or_synapse import Products
from ._graph import walk
from ._primitives import (
    DEVICE_SUMS,
    LINEAR_NOT_REWRITTEN,
    STRUCTURAL,
    SYNAPTIC,
    holds,
    holds_synaptic,
    is_identity,
)


@dataclass(frozen=True, eq=False)
class WeightedOp:
    """A linear operation on an effective weight and a value made from data.

    `weight` is the position of the weight among the operands; None in an operation
    that is not rewritten (one with a user-written derivative, for example).
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
    """A linear operation on an effective weight and a value made from data.

    Attributes:
      name: the paths of the parameters that make the effective weight.
      operation: `dot_general`, `conv_general_dilated`, `mul`, or an operation whose
        body could not be rewritten.
      weight: the position of the weight among the operands; None if not rewritten.
      shape: the shape of the effective weight.
      fan_in: the number of inputs summed in one output.
      fan_out: the number of outputs that one input reaches.
      direct: whether the effective weight is one leaf, at most rearranged.
      loops: the lengths of the loops around it.
      scope: the names of the modules or functions that compute it.
      where: the line of code that computes it.
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
    """The elementwise products that are gains, in program order."""
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
    """A `Synapse` for each operation, in order."""
    return tuple(_synapse(flow, products, each, paths) for each in found)


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
    """The sizes of the summed axes, and of the axes that reach the output."""
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
    """Whether a weight is one leaf, at most rearranged or bound to a loop."""
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


# ---- Leaves that cannot have a second copy for the backward path, and why.

_KNOWN = known_primitives() | DEVICE_SUMS | STRUCTURAL


@dataclass(frozen=True, eq=False)
class Refusal:
    """Leaves that reach a linear operation that cannot be rewritten, and why."""

    op: Op
    leaves: frozenset[int]
    reason: str

    def message(self, names: Sequence[str]) -> str:
        """The error message, with the names of the leaves."""
        paths = ", ".join(names[i] for i in sorted(self.leaves))
        where = f"at {self.op.where}: {self.reason}."
        return f"Parameter {paths!r} cannot be given feedback {where}"


def refusals(flow: Flow, live: set[int], products: Products) -> list[Refusal]:
    """The leaves that cannot have a second copy for the backward path.

    Only operations with a derivative of the loss count: no feedback passes through
    others.
    """
    sites = [s for s in walk(flow.program.body) if _matters(s.op, live)]
    found = (_refusal(flow, site.op) for site in sites)
    mixed = (
        _met_data(flow, op, [op.inputs[i]])
        for op, i in products.mixed
        if _matters(op, live)
    )
    return [*(r for r in found if r is not None), *mixed]


def _matters(op: Op, live: set[int]) -> bool:
    return bool(live.intersection(op.outputs))


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
    """Whether the kernel of a convolution is an activity, not a weight."""
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
    # As diffrax and equinox differentiate their loops by default.
    if holds(op, frozenset({"while"})):
        remedy += " (diffrax: `diffeqsolve(..., adjoint=diffrax.DirectAdjoint())`)"
    return f"{reason}. {remedy}"


def _unknown(flow: Flow, op: Op, weights: frozenset[int]) -> Refusal | None:
    """An unknown operation on activities alone is allowed if it has a derivative."""
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
    except Exception:  # the package that defines it may raise anything
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
        "None in `batch_axes`, or close over that",
    )


def unknowns(flow: Flow, live: set[int]) -> list[Op]:
    """Operations on activities or parameters whose code apical cannot read."""
    found = []
    for site in walk(flow.program.body):
        touched = any(flow.kind_of(a) & PARAMETER for a in site.op.inputs)
        unknown = not site.op.enterable and site.op.name not in _KNOWN
        if touched and unknown and _matters(site.op, live):
            found.append(site.op)
    return found
