"""Manual axes: what differs from device to device inside `jax.shard_map`.

Inside `jax.shard_map` a program sees one device's part of each array, and the type of
an array names the axes of the mesh along which it varies. A sum over all entries is a
sum over the device's entries, then over these axes. Outside, and with
`check_vma=False`, nothing varies and these functions change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np


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
    pairs = list(zip(equation.invars, values, strict=True))
    every = frozenset[str]().union(*map(varying, values)) if alike else ()
    return [
        value
        if isinstance(value, np.ndarray | np.generic)
        else vary(value, varying(variable.aval).union(every))
        for variable, value in pairs
    ]
