"""Numerical helpers: random keys by name, norms, and precision."""

from __future__ import annotations

import zlib
from typing import Any

import jax
import jax.numpy as jnp

from ..circuit import Circuit, over_devices

NodeArrays = dict[str, jax.Array]  # an array for each node, by its name


def fold_in_name(key: jax.Array, name: str) -> jax.Array:
    """A key that differs from every `split` or small `fold_in` of the same key.

    `fold_in(key, i)` equals `split(key, n)[i]`, so feedback drawn from the key that
    initialised the parameters could otherwise equal the parameters.
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def relative_norm(last: Any, first: Any) -> jax.Array:
    """The ratio of the norms of two trees; 0 where the second norm is 0."""
    return root_of_ratio(squared_norm(last), squared_norm(first))


def root_of_ratio(last: Any, first: Any) -> jax.Array:
    """The same ratio, from two squared norms."""
    return jnp.sqrt(jnp.where(first == 0, 0, last / jnp.where(first == 0, 1, first)))


def squared_norm(tree: Any) -> jax.Array:
    """The sum of squares of all entries of a tree, on all devices."""
    squares = (jnp.sum(jnp.square(jnp.abs(x))) for x in jax.tree.leaves(tree))
    return sum(map(over_devices, squares), jnp.zeros(()))


def upcast(tree: Any) -> Any:
    """The same numbers, in at least 32 bits.

    The error of one example is its share of the loss times the number of examples,
    which may overflow in 16 bits.
    """
    return jax.tree.map(
        lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), tree
    )


def cast_to_nodes(
    circuit: Circuit, values: dict[str, jax.Array]
) -> dict[str, jax.Array]:
    """The same numbers in the dtypes of their nodes."""
    dtypes = {n.name: n.dtype for n in circuit.nodes}
    return {n: x.astype(dtypes[n]) for n, x in values.items()}
