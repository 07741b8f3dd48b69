"""Automatic axes: computations that no explicit type of sharding fits.

On a mesh with `AxisType.Explicit` JAX refuses to reshape, gather or contract axes along
which an array is divided unless it is told how the result is. The loops of rules
through time do all of that, with axes that they find in the program. They run with
automatic axes instead, on which the compiler chooses; what enters and leaves them has
its explicit type, and the user's operations within them run as they were traced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def is_automatic() -> bool:
    """Whether this is traced for a mesh none of whose axes are explicit."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and AxisType.Explicit not in mesh.axis_types


def automatic(
    function: Callable[..., Any], like: Callable[..., Any]
) -> Callable[..., Any]:
    """The function, with automatic axes where its arguments have explicit ones.

    Args:
      function: a function of pytrees of arrays.
      like: returns, for the same arguments, a pytree with the structure of the results,
        whose leaves have their explicit shardings; other results are replicated.
    """

    def run(*args: Any) -> Any:
        if not any(len(_spec_of(x)) for x in jax.tree.leaves(args)):
            return function(*args)
        specs = jax.tree.map(_spec_of, like(*args))
        return jax.sharding.auto_axes(function, out_sharding=specs)(*args)

    return run


def _spec_of(leaf: Any) -> PartitionSpec:
    """The explicit sharding of an array or its shape; empty if it has none."""
    aval = jax.typeof(leaf) if isinstance(leaf, jax.Array) else leaf
    found = getattr(aval, "sharding", None)
    if not isinstance(found, NamedSharding) or not any(found.spec):
        return PartitionSpec()
    return found.spec


def explicit_axes(avals: Sequence[Any]) -> tuple[str, ...]:
    """The explicit axes of the mesh on which an equation of these types was traced."""
    meshes = (getattr(getattr(a, "sharding", None), "mesh", None) for a in avals)
    mesh = next((m for m in meshes if m is not None and not m.empty), None)
    if mesh is None:
        return ()
    pairs = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return tuple(name for name, kind in pairs if kind == AxisType.Explicit)


def as_explicit(
    function: Callable[..., Any], avals: Sequence[Any], axes: tuple[str, ...]
) -> Callable[..., Any]:
    """A function that was traced with explicit axes, for arrays on automatic ones.

    Args:
      function: a function of arrays.
      avals: the types of the arrays that it was traced with.
      axes: the explicit axes.
    """
    specs = tuple(aval.sharding.spec for aval in avals)
    return jax.sharding.explicit_axes(function, axes=axes, in_sharding=specs)
