"""Propagation of the axis of examples through one operation.

`follow(flow, op, i, place, count)` returns, for each output, the `Place` of the
examples of operand `i`; None where an entry of the output may depend on several of them
(as for unknown operations).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import jax
import numpy as np

from .._analysis._dataflow import CONSTANT, DATA, Flow
from .._analysis._primitives import DEVICE_SUMS, is_elementwise
from .._analysis._varying_axes import dot_axes
from .._evaluate._manual_axes import varying
from .._jaxpr import Atom, Literal, Op, is_concrete
from ._example_position import Place, reshaped, sliced


class Step:
    """One operand of one operation, and the place of its examples."""

    def __init__(self, flow: Flow, op: Op, i: int, place: Place, count: int) -> None:
        self.flow, self.op, self.operand = flow, op, i
        self.place, self.count, self.axis = place, count, place.axis
        self.shape = flow.shape(op.inputs[i])
        self.params = op.params

    def at(self, axis: int | None) -> list[Place | None]:
        """The place at this axis, for every output."""
        found = None if axis is None else self.place.at(axis)
        return [found] * len(self.op.outputs)

    def after(self, *removed: int) -> list[Place | None]:
        """The place after some axes of the operand are removed."""
        if self.axis in removed:
            return self.at(None)
        return self.at(self.axis - sum(r < self.axis for r in removed))


Rule = Callable[[Step], Sequence[Place | None]]


def follow(
    flow: Flow, op: Op, i: int, place: Place, count: int
) -> Sequence[Place | None]:
    """The place of an operand's examples in each output."""
    step = Step(flow, op, i, place, count)
    if place.axis < 0:  # one example per step of a surrounding loop
        return step.at(place.axis)
    return _rule(op)(step)


def _rule(op: Op) -> Rule:
    if op.name in _RULES:
        return _RULES[op.name]
    if op.name.startswith("reduce_window") or op.name.startswith("select_and_"):
        return _window
    if "axes" in op.params and op.name.startswith(("reduce_", "arg")):
        return lambda step: step.after(*op.params["axes"])
    if op.name.startswith("cum"):
        return lambda step: step.at(
            None if step.axis == op.params["axis"] else step.axis
        )
    if op.name.startswith("scatter"):
        return _scatter
    return _kept if is_elementwise(op) else lambda step: step.at(None)


def _kept(step: Step) -> Sequence[Place | None]:
    return step.at(step.axis)


def _each_its_own(step: Step) -> Sequence[Place | None]:
    numbers = range(len(step.op.outputs))
    return [step.place if i == step.operand else None for i in numbers]


def _broadcast(step: Step) -> Sequence[Place | None]:
    return step.at(step.params["broadcast_dimensions"][step.axis])


def _reshape(step: Step) -> Sequence[Place | None]:
    after = step.flow.shape(step.op.outputs[0])
    return [reshaped(step.place, step.shape, after, step.count)]


def _squeeze(step: Step) -> Sequence[Place | None]:
    return step.after(*(d % len(step.shape) for d in step.params["dimensions"]))


def _expand(step: Step) -> Sequence[Place | None]:
    axes = range(len(step.flow.shape(step.op.outputs[0])))
    left = [a for a in axes if a not in step.params["dimensions"]]
    return step.at(left[step.axis])


def _transpose(step: Step) -> Sequence[Place | None]:
    return step.at(list(step.params["permutation"]).index(step.axis))


def _unless_along(key: str) -> Rule:
    """A rule for operations along one axis, or several."""

    def rule(step: Step) -> Sequence[Place | None]:
        along = step.params[key]
        along = along if isinstance(along, (tuple, list)) else (along,)
        hit = step.axis in [a % len(step.shape) for a in along]
        return step.at(None if hit else step.axis)

    return rule


def _last(step: Step) -> Sequence[Place | None]:
    return step.at(None if step.axis == len(step.shape) - 1 else step.axis)


def _concatenate(step: Step) -> Sequence[Place | None]:
    along = step.params["dimension"]
    if step.axis != along:
        return step.at(step.axis)
    block = step.count * step.place.inner
    sizes = [step.flow.shape(a)[along] for a in step.op.inputs]
    if any(size % block for size in sizes):
        return step.at(None)
    return [step.place._replace(outer=sum(sizes) // block)]


def _pad(step: Step) -> Sequence[Place | None]:
    low, high, interior = step.params["padding_config"][step.axis]
    block = step.count * step.place.inner
    if interior or low % block or high % block:
        return step.at(None)
    return [step.place._replace(outer=step.place.outer + (low + high) // block)]


def _slice(step: Step) -> Sequence[Place | None]:
    strides = step.params["strides"]
    stride = 1 if strides is None else strides[step.axis]
    start = step.params["start_indices"][step.axis]
    limit = step.params["limit_indices"][step.axis]
    return [sliced(step.place, start, limit, stride, step.count)]


def _split(step: Step) -> Sequence[Place | None]:
    if step.params["axis"] != step.axis:
        return step.at(step.axis)
    ends = np.cumsum([0, *step.params["sizes"]]).tolist()
    return [sliced(step.place, a, b, 1, step.count) for a, b in pairwise(ends)]


def _unstack(step: Step) -> Sequence[Place | None]:
    return step.after(step.params["axis"])


def _stack(step: Step) -> Sequence[Place | None]:
    return step.at(step.axis + (step.params["axis"] <= step.axis))


def _dynamic_slice(step: Step) -> Sequence[Place | None]:
    whole = step.operand == 0 and (
        step.params["slice_sizes"][step.axis] == step.shape[step.axis]
    )
    return step.at(step.axis if whole else None)


def _dynamic_update(step: Step) -> Sequence[Place | None]:
    whole = step.operand == 0 or (
        step.operand == 1
        and step.shape[step.axis] == step.flow.shape(step.op.inputs[0])[step.axis]
    )
    return step.at(step.axis if whole else None)


def _dot(step: Step) -> Sequence[Place | None]:
    ranks = [len(step.flow.shape(a)) for a in step.op.inputs]
    return step.at(dict(dot_axes(step.op, step.operand, ranks)).get(step.axis))


def _convolution(step: Step) -> Sequence[Place | None]:
    numbers = step.params["dimension_numbers"]
    ours = step.operand == 0 and step.axis == numbers.lhs_spec[0]
    whole = ours and step.params["batch_group_count"] == 1
    return step.at(numbers.out_spec[0] if whole else None)


def _window(step: Step) -> Sequence[Place | None]:
    every = [step.params.get(k) for k in ("window_dimensions", "window_strides")]
    alone = all(e is not None and e[step.axis] == 1 for e in every)
    return step.at(step.axis if alone else None)


def _matrix(step: Step) -> Sequence[Place | None]:
    return step.at(step.axis if step.axis < len(step.shape) - 2 else None)


def _fourier(step: Step) -> Sequence[Place | None]:
    inside = len(step.shape) - len(step.params["fft_lengths"])
    return step.at(step.axis if step.axis < inside else None)


def _gather(step: Step) -> Sequence[Place | None]:
    numbers = step.params["dimension_numbers"]
    out = range(len(step.flow.shape(step.op.outputs[0])))
    batch = [a for a in out if a not in numbers.offset_dims]
    if step.operand == 1:
        return step.at(batch[step.axis] if step.axis < len(batch) else None)
    if step.axis in numbers.operand_batching_dims:
        pair = list(numbers.operand_batching_dims).index(step.axis)
        return step.at(batch[numbers.start_indices_batching_dims[pair]])
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    whole = step.params["slice_sizes"][step.axis] == step.shape[step.axis]
    if step.axis not in gone and whole:
        left = [a for a in range(len(step.shape)) if a not in gone]
        return step.at(numbers.offset_dims[left.index(step.axis)])
    counted = _counted(step.flow, step.op.inputs[1], numbers.start_index_map, step.axis)
    return step.at(None if counted is None else batch[counted])


def _scatter(step: Step) -> Sequence[Place | None]:
    if step.operand == 0:
        return step.at(step.axis)
    if step.operand == 1:
        return step.at(None)
    numbers = step.params["dimension_numbers"]
    into = step.flow.shape(step.op.inputs[0])
    window = numbers.update_window_dims
    gone = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    if step.axis in window:
        left = [a for a in range(len(into)) if a not in gone]
        axis = left[list(window).index(step.axis)]
        return step.at(axis if into[axis] == step.shape[step.axis] else None)
    batch = [a for a in range(len(step.shape)) if a not in window]
    place = batch.index(step.axis)
    if place in numbers.scatter_indices_batching_dims:
        pair = list(numbers.scatter_indices_batching_dims).index(place)
        return step.at(numbers.operand_batching_dims[pair])
    maps = numbers.scatter_dims_to_operand_dims
    for axis in numbers.inserted_window_dims:
        if _counted(step.flow, step.op.inputs[1], maps, axis) == place:
            whole = into[axis] == step.shape[step.axis]
            return step.at(axis if whole else None)
    return step.at(None)


def _counted(flow: Flow, indices: Atom, maps: Sequence[int], axis: int) -> int | None:
    """The axis of the indices along which they count 0, 1, 2, ... into `axis`.

    As in `x[jnp.arange(n), labels]`, where the column of the labels is unknown.
    """
    column = list(maps).index(axis) if axis in maps else None
    if column is None or isinstance(indices, Literal):
        return None
    maker = flow.maker.get(indices)
    if maker is not None and maker[0].name == "concatenate":
        parts = maker[0].inputs
        if len(parts) != len(maps):
            return None
        indices, column = parts[column], 0
    if flow.kind_of(indices) != CONSTANT:
        return None
    with jax.ensure_compile_time_eval():
        known = _constant(flow, indices)
    if known is None:
        return None
    numbers = np.asarray(known)[..., column]
    for place, size in enumerate(numbers.shape):
        shape = [size if a == place else 1 for a in range(numbers.ndim)]
        if size > 1 and np.all(numbers == np.arange(size).reshape(shape)):
            return place
    return None


def _constant(flow: Flow, atom: Atom) -> jax.Array | None:
    """The value of a constant; None where it is unknown."""
    if isinstance(atom, Literal):
        return atom.value
    if atom in flow.program.constants:
        known = flow.program.constants[atom]
        return known if is_concrete(known) else None
    if atom not in flow.maker or flow.maker[atom][0].enterable:
        return None
    op, i = flow.maker[atom]
    values = [_constant(flow, a) for a in op.inputs]
    return None if any(v is None for v in values) else op(*values)[i]


def _over_devices(step: Step) -> Sequence[Place | None]:
    """A sum over devices: it joins examples if they hold different ones."""
    summed = set(step.params["axes"])
    program = step.flow.program
    data = (n for n in program.body.inputs if step.flow.kind_of(n) == DATA)
    meet = any(
        step.flow.varies(n) and summed & varying(program.shapes[n]) for n in data
    )
    return step.at(None if meet else step.axis)


_MATRICES = (
    *("cholesky", "lu", "qr", "geqrf", "eigh", "eig", "svd", "triangular_solve"),
    *("householder_product", "tridiagonal_solve", "lu_pivots_to_permutation"),
)
_RULES: dict[str, Rule] = {
    **dict.fromkeys(("copy", "copy_p", "name", "reduce_precision"), _kept),
    **dict.fromkeys(("convert_element_type", "sharding_constraint"), _kept),
    **dict.fromkeys(("bitcast_convert_type", "reshard", "mesh_cast"), _kept),
    "pvary": _kept,
    **dict.fromkeys(("optimization_barrier", "device_put"), _each_its_own),
    **dict.fromkeys(_MATRICES, _matrix),
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolution,
    "dot_general": _dot,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update,
    "expand_dims": _expand,
    "fft": _fourier,
    "gather": _gather,
    "pad": _pad,
    **dict.fromkeys(DEVICE_SUMS, _over_devices),
    "reshape": _reshape,
    "rev": _unless_along("dimensions"),
    "slice": _slice,
    "sort": _unless_along("dimension"),
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "top_k": _last,
    "transpose": _transpose,
    "unstack": _unstack,
}
