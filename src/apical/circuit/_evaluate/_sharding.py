"""Explicit sharding: new arrays get the sharding of the values that they match.

On a mesh with `AxisType.Explicit` the sharding of an array is a part of its type, and
operands must agree in it. Elsewhere these functions change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from ._automatic_axes import is_automatic
from ._manual_axes import over_devices, vary, varying


def sharding_of(aval: Any) -> NamedSharding | None:
    """The sharding in a type; None if it has none."""
    found = getattr(aval, "sharding", None)
    spec = getattr(found, "spec", ())
    explicit = isinstance(found, NamedSharding) and any(a is not None for a in spec)
    return found if explicit else None


def struct_like(
    aval: Any, shape: Sequence[int], dtype: Any, axes: int = 0, **keywords: Any
) -> jax.ShapeDtypeStruct:
    """A shape and dtype, divided and varying over devices as another is.

    Args:
      aval: a type, or a shape and dtype.
      shape: the shape, with `axes` leading axes before those of the other.
      dtype: the dtype.
      axes: the number of leading axes.
      **keywords: as of `jax.ShapeDtypeStruct`.
    """
    if varying(aval):
        keywords["manual_axis_type"] = aval.manual_axis_type
    found = aval.sharding if varying(aval) else sharding_of(aval)
    found = in_front(found, axes)
    return jax.ShapeDtypeStruct(tuple(shape), dtype, sharding=found, **keywords)


def type_of(leaf: Any) -> NamedSharding | None:
    """The sharding in the type of an array."""
    is_array = isinstance(leaf, jax.Array)
    return sharding_of(jax.typeof(leaf) if is_array else leaf)


def in_front(sharding: NamedSharding | None, axes: int) -> NamedSharding | None:
    """The sharding with unsharded leading axes."""
    if sharding is None:
        return None
    return NamedSharding(sharding.mesh, PartitionSpec(*[None] * axes, *sharding.spec))


def zeros(struct: Any) -> jax.Array:
    """Zeros of a shape and dtype, with its sharding."""
    found = None if is_automatic() else sharding_of(struct)
    return vary(jnp.zeros(struct.shape, struct.dtype, device=found), varying(struct))


def beside(value: jax.Array, like: Any, axes: int = 0) -> jax.Array:
    """A value with the sharding of another, plus leading axes."""
    value, wanted = vary(value, varying(like)), in_front(type_of(like), axes)
    return value if wanted is None else jax.sharding.reshard(value, wanted)


def gathered(value: jax.Array) -> jax.Array:
    """The value, replicated."""
    found = type_of(value)
    if found is None:
        return value
    whole = NamedSharding(found.mesh, PartitionSpec(*[None] * value.ndim))
    return jax.sharding.reshard(value, whole)


def reshape(value: jax.Array, shape: Sequence[int]) -> jax.Array:
    """The value in another shape.

    An axis stays divided over devices where an axis of the result starts at the same
    entries, and can be divided as evenly; any other is gathered.
    """
    found = type_of(value)
    if found is None:
        return value.reshape(shape)
    shape = jax.eval_shape(lambda x: x.reshape(shape), _plain(value)).shape
    spec: list[Any] = [None] * len(shape)
    for axis, names in enumerate(found.spec):
        every = names if isinstance(names, tuple) else (names,)
        parts = math.prod(found.mesh.shape[n] for n in every if n is not None)
        before = math.prod(value.shape[:axis])
        for j, size in enumerate(shape):
            if math.prod(shape[:j]) == before and size > 1 and size % parts == 0:
                spec[j] = names
    return jnp.reshape(
        value, shape, out_sharding=NamedSharding(found.mesh, PartitionSpec(*spec))
    )


def _plain(value: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(value.shape, value.dtype)


def inner(one: jax.Array, other: jax.Array) -> jax.Array:
    """The real inner product of two arrays over all devices, in at least 32 bits.

    Elementwise, because a contraction of sharded axes needs an output sharding.
    """
    products = (jnp.conj(one) * other).real
    wide = jnp.promote_types(products.dtype, jnp.float32)
    return over_devices(jnp.sum(products.astype(wide)))
