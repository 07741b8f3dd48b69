"""Manual axes: what differs from device to device inside `jax.shard_map`.

Inside `jax.shard_map` a program sees one device's part of each array, and the type of
an array names the axes of the mesh along which it varies. A sum over all entries is a
sum over the device's entries, then over these axes. Outside, and with
`check_vma=False`, nothing varies and these functions change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec


def varying(leaf: Any) -> frozenset[str]:
    """The axes of the mesh along which an array, or a type, differs."""
    aval = jax.typeof(leaf) if isinstance(leaf, jax.Array) else leaf
    manual = getattr(aval, "manual_axis_type", None)
    return getattr(manual, "varying", frozenset())


def vary(value: jax.Array, axes: Iterable[str]) -> jax.Array:
    """The same value on each device, of a type that varies along these axes too."""
    missing = frozenset(axes) - varying(value)
    if not missing:
        return value
    return jax.lax.pcast(value, tuple(sorted(missing)), to="varying")


def over_devices(value: jax.Array) -> jax.Array:
    """The sum over the devices along whose axes the value varies."""
    axes = varying(value)
    return jax.lax.psum(value, tuple(sorted(axes))) if axes else value


def mean_over_devices(value: jax.Array) -> jax.Array:
    """The mean over the devices along whose axes the value varies."""
    axes = varying(value)
    return jax.lax.pmean(value, tuple(sorted(axes))) if axes else value


def scan(
    step: Callable[..., Any], start: Any, xs: Any = None, **keywords: Any
) -> tuple[Any, Any]:
    """`jax.lax.scan`, from a carry of the types that a step returns.

    JAX requires that a carry varies along the same axes before and after a step, and
    zeros vary along none.
    """
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return jax.lax.scan(step, start, xs, **keywords)
    one = jax.tree.map(_of_one_step, xs)
    while True:
        after = jax.eval_shape(step, start, one)[0]
        met = jax.tree.map(lambda x, end: vary(x, varying(end)), start, after)
        pairs = zip(*map(jax.tree.leaves, (met, start)), strict=True)
        if all(varying(a) == varying(b) for a, b in pairs):
            return jax.lax.scan(step, start, xs, **keywords)
        start = met


def _of_one_step(x: Any) -> jax.ShapeDtypeStruct:
    aval = jax.typeof(x)
    return jax.ShapeDtypeStruct(
        aval.shape[1:],
        aval.dtype,
        sharding=NamedSharding(aval.sharding.mesh, PartitionSpec()),
        manual_axis_type=aval.manual_axis_type,
    )


def vary_as(tree: Any, like: Any) -> Any:
    """A tree of values that vary along the axes of those of another tree."""
    return jax.tree.map(lambda x, other: vary(x, varying(other)), tree, like)


def axes_of(tree: Any) -> frozenset[str]:
    """The axes along which some value of a tree varies."""
    return frozenset[str]().union(*map(varying, jax.tree.leaves(tree)))


def all_varying(tree: Any, axes: frozenset[str]) -> Any:
    """A tree of values that all vary along the same axes."""
    if not axes:
        return tree
    return jax.tree.map(lambda x: vary(x, axes), tree)


def cotangents_apart(tree: Any, axes: frozenset[str]) -> Any:
    """Cotangents as parts of a sum over devices, along these axes.

    A cotangent that is the same on all devices is divided by their number.
    """

    def apart(cotangent: Any) -> Any:
        missing = axes - varying(cotangent)
        if not missing or cotangent.dtype == jax.dtypes.float0:
            return cotangent
        shape = jax.sharding.get_abstract_mesh().shape
        count = math.prod(shape[axis] for axis in missing)
        return vary(cotangent / count, axes)

    return jax.tree.map(apart, tree) if axes else tree


def cotangents_joined(tree: Any, like: Any) -> Any:
    """Cotangents summed over the axes along which their values do not vary."""

    def joined(cotangent: Any, value: Any) -> Any:
        if cotangent.dtype == jax.dtypes.float0:
            return cotangent
        more = varying(cotangent) - varying(value)
        summed = jax.lax.psum(cotangent, tuple(sorted(more))) if more else cotangent
        return vary(summed, varying(value))

    if not jax.sharding.get_abstract_mesh().manual_axes:
        return tree
    return jax.tree.map(joined, tree, like)


def devices(struct: Any, axes: Iterable[str]) -> int:
    """The number of devices along some of the axes along which a value varies."""
    return math.prod(struct.sharding.mesh.shape[axis] for axis in axes)


def key_of_device(key: jax.Array, like: Any) -> jax.Array:
    """A key that differs from device to device as a value does, for its random numbers.

    The device's position along the axes of the value is folded in.
    """
    for axis in sorted(varying(like)):
        key = jax.random.fold_in(key, jax.lax.axis_index(axis))
    return key


def as_traced(equation: Any, values: Sequence[Any], *, alike: bool) -> list[Any]:
    """The operands of an equation, with the types that it was traced with.

    A value that is put in place of another may be the same on all devices.

    Args:
      equation: the equation.
      values: its operands.
      alike: whether all of them must vary along the same axes.
    """
    every = frozenset[str]().union(*map(varying, values)) if alike else ()
    return [
        value
        if hasattr(variable, "val")  # written into the equation
        else vary(value, varying(variable.aval).union(every))
        for variable, value in zip(equation.invars, values, strict=True)
    ]
