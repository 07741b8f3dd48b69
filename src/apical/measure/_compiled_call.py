"""Compilation of a measure whose arguments may hold leaves that are not arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax

from ..rules._trace_cache import Exact

T = TypeVar("T")


def compiled_call(function: Callable[..., T]) -> Callable[..., T]:
    """Compile a function whose arguments may hold leaves that are not arrays."""
    compiled = jax.jit(
        lambda rest, arrays: function(*_merged(*rest.value, arrays=arrays)),
        static_argnums=0,
    )

    def call(*args: Any) -> T:
        flat, treedef = jax.tree.flatten(args)
        dynamic = [isinstance(x, jax.Array) or hasattr(x, "__array__") for x in flat]
        static = tuple(None if d else x for d, x in zip(dynamic, flat, strict=True))
        arrays = [x if d else None for d, x in zip(dynamic, flat, strict=True)]
        return compiled(Exact((treedef, static)), arrays)

    return call


def _merged(treedef: Any, static: Any, arrays: Any) -> Any:
    pairs = zip(static, arrays, strict=True)
    return jax.tree.unflatten(treedef, [s if a is None else a for s, a in pairs])
