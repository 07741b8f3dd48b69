"""Explicit sharding: new arrays get the sharding of the values that they match.

On a mesh with `AxisType.Explicit` the sharding of an array is a part of its type, and
operands must agree in it. Elsewhere these functions change nothing.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from ._automatic_axes import is_automatic


def sharding_of(aval: Any) -> NamedSharding | None:
    """The sharding in a type; None if it has none."""
    found = getattr(aval, "sharding", None)
    spec = getattr(found, "spec", ())
    explicit = isinstance(found, NamedSharding) and any(a is not None for a in spec)
    return found if explicit else None


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
    return jnp.zeros(struct.shape, struct.dtype, device=found)


def beside(value: jax.Array, like: Any, axes: int = 0) -> jax.Array:
    """A value with the sharding of another, plus leading axes."""
    wanted = in_front(type_of(like), axes)
    return value if wanted is None else jax.sharding.reshard(value, wanted)


def gathered(value: jax.Array) -> jax.Array:
    """The value, replicated."""
    found = type_of(value)
    if found is None:
        return value
    whole = NamedSharding(found.mesh, PartitionSpec(*[None] * value.ndim))
    return jax.sharding.reshard(value, whole)


def inner(one: jax.Array, other: jax.Array) -> jax.Array:
    """The real inner product of two arrays, in at least 32 bits.

    Elementwise, because a contraction of sharded axes needs an output sharding.
    """
    products = (jnp.conj(one) * other).real
    wide = jnp.promote_types(products.dtype, jnp.float32)
    return jnp.sum(products.astype(wide))
