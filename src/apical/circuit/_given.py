"""What is handed to a circuit must have the form that it was traced with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from ._calls import kind
from ._leaves import Leaves, is_array


def pick(leaves: Leaves, tree: Any, name: str) -> list[Any]:
    """The arrays of `params` or `args`, or refuse another structure."""
    if name == "args" and not isinstance(tree, tuple):
        raise TypeError(
            "`args` must be the tuple of the arguments after `params`, as `(x, y)` or "
            f"`(x,)`, not {kind(tree)}."
        )
    try:
        learned, arrays = leaves.pick(tree)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must have the structure that the circuit was traced with: "
            f"{_short(error)} Trace it anew: `apical.trace(loss_fn)(params, *args)`."
        ) from error
    return [*learned, *arrays]


def require_shapes(
    given: Sequence[Any],
    shapes: Sequence[tuple[int, ...]],
    params: Leaves,
    args: Leaves,
) -> None:
    """Refuse inputs of other shapes: constants of the program depend on them."""
    for i, (value, shape) in enumerate(zip(given, shapes, strict=True)):
        if jnp.shape(value) != shape:
            ours = [*params.names, *(params.paths[j] for j in params.arrays)]
            theirs = [f"args.{args.paths[j]}" for j in args.arrays]
            raise ValueError(
                f"{[*ours, *theirs][i]!r} has shape {jnp.shape(value)}, and the "
                f"circuit was traced with {shape}. Trace it anew at these shapes: "
                "`apical.trace(loss_fn)(params, *args)`."
            )


def require_mapping(values: Any, name: str) -> dict[str, Any]:
    """Values by site, as a dictionary of one's own."""
    if not isinstance(values, Mapping):
        raise TypeError(
            f"`{name}` must be a dictionary from the names of nodes to arrays, not "
            f"{kind(values)}."
        )
    return dict(values)


def require_values(
    values: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], name: str
) -> None:
    """Refuse what does not have the shape of its site."""
    for site, value in values.items():
        if not is_array(value):
            raise TypeError(
                f"`{name}` at {site!r} must be an array, not a {type(value).__name__}."
            )
        if value.shape != shapes[site]:
            raise ValueError(
                f"`{name}` at {site!r} has shape {value.shape}; there it must have "
                f"{shapes[site]} (the lengths of loops in front)."
            )


def require_copies(
    names: Sequence[str], leaves: Sequence[Any], copies: Sequence[Any]
) -> None:
    """Refuse feedback that is not, leaf by leaf, None or of the parameter's shape."""
    for path, leaf, copy in zip(names, leaves, copies, strict=True):
        if copy is None:
            continue
        if not is_array(copy):
            raise ValueError(
                f"`feedback` for {path!r} must be an array or None, not a "
                f"{type(copy).__name__}."
            )
        if copy.shape != jnp.shape(leaf):
            raise ValueError(
                f"`feedback` for {path!r} has shape {copy.shape}; the parameter has "
                f"shape {jnp.shape(leaf)}."
            )


def _short(error: Exception, most: int = 200) -> str:
    """JAX's reason on one line, which may hold whole arrays."""
    told = " ".join(str(error).split())
    return told if len(told) <= most else f"{told[:most]}..."
