"""Automatic axes: computations that no explicit type of sharding fits.

On a mesh with `AxisType.Explicit` JAX refuses to reshape, gather or contract axes along
which an array is divided unless it is told how the result is. The loops of rules
through time do all of that, with axes that they find in the program. They run with
automatic axes instead, on which the compiler chooses; what enters and leaves them has
its explicit type.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

RESHARDING = frozenset({"reshard", "mesh_cast"})
# What equations say of the sharding of their results.
_SHARDINGS = ("out_sharding", "sharding")


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


def relaxed(program: Any) -> Any:
    """A program traced with explicit axes, for the mesh that is now in use.

    Its equations say no more how results are divided.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if all(e.ctx.cur_abstract_mesh == mesh for e in program.eqns):
        return program
    return _relaxed(program, _context(mesh))


class _Context(NamedTuple):
    """What equations hold of the mesh on which they were traced.

    Attributes:
      equation: the context of an equation.
      call: the mesh of a call of `jit`.
    """

    equation: Any
    call: Any


def _relaxed(program: Any, context: _Context) -> Any:
    if not hasattr(program, "eqns"):
        return program
    if hasattr(program, "jaxpr"):  # closed over constants
        return program.replace(jaxpr=_relaxed(program.jaxpr, context))
    return program.replace(eqns=[_equation(e, context) for e in program.eqns])


def _equation(equation: Any, context: _Context) -> Any:
    def parameter(name: str, value: Any) -> Any:
        if name == "ctx_mesh":
            return context.call
        if type(value) in (tuple, list):
            return type(value)(_relaxed(v, context) for v in value)
        return None if name in _SHARDINGS else _relaxed(value, context)

    params = {k: parameter(k, v) for k, v in equation.params.items()}
    return equation.replace(params=params, ctx=context.equation)


@cache
def _context(mesh: Any) -> _Context:
    """The context of equations on a mesh: the one that is in use."""
    del mesh
    (call,) = jax.make_jaxpr(jax.jit(jax.lax.sin))(0.0).eqns
    return _Context(call.ctx, call.params["ctx_mesh"])
