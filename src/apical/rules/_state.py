"""A state of another model, rule or optimiser, told where it made a call fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp


def require_key(key: Any) -> None:
    """Refuse what is not one key, old or new; seeds and swapped arguments above all."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if shape != () if typed else (dtype != jnp.uint32 or len(shape or ()) != 1):
        told = (
            f"a {type(key).__name__}"
            if dtype is None
            else f"{dtype}{list(shape or ())}"
        )
        raise TypeError(
            f"`key` must be one key, as `jax.random.key(0)` makes it, not {told}; it "
            "comes first: `init(key, params, *args)`."
        )


@contextmanager
def fitting(state: Any, init: Callable[[jax.Array], Any]) -> Iterator[None]:
    """Where what is done inside fails, say so if the state is not as `init` makes it.

    A state that works is never looked at, so that this costs nothing.
    """
    try:
        yield
    except Exception as error:
        reason = _misfit(state, init)
        if reason is None:
            raise
        raise ValueError(
            f"`state` does not fit this rule and model: {reason}. Hand in what "
            "`init(key, params, *args)` of the same learner (or training step) made, "
            f"or what the call before returned. ({type(error).__name__}: {error})"
        ) from error


def _misfit(state: Any, init: Callable[[jax.Array], Any]) -> str | None:
    found: list[str | None] = []
    for key in (jax.random.key(0), jax.random.PRNGKey(0)):  # states hold either kind
        try:
            wanted = jax.eval_shape(init, key)
        except Exception:  # a rule that refuses, or whose state is not arrays
            return None
        found.append(difference(state, wanted))
    return None if None in found else found[0]


def difference(found: Any, wanted: Any) -> str | None:
    """The first difference in form between two trees; None if there is none."""
    if isinstance(wanted, jax.ShapeDtypeStruct):
        known = getattr(found, "shape", None) == wanted.shape
        told = f"an array of shape {wanted.shape}"
        return None if known else f"it is {_told(found)}, and should be {told}"
    if type(found) is not type(wanted):
        return f"it is a {type(found).__name__}, and should be a {_kind(wanted)}"
    ours, theirs = _shapes(found), _shapes(wanted)
    for path in [*theirs, *ours]:
        if path not in ours:
            return f"{path} is missing"
        if path not in theirs:
            return f"{path} should not be there"
        if ours[path] != theirs[path]:
            return f"{path} has shape {ours[path]}, and should have {theirs[path]}"
    if jax.tree.structure(found) != jax.tree.structure(wanted):
        return f"it is {jax.tree.structure(found)}"
    return None


def _told(found: Any) -> str:
    shape = getattr(found, "shape", None)
    return f"a {type(found).__name__}" if shape is None else f"of shape {shape}"


def _kind(tree: Any) -> str:
    fields = getattr(tree, "_fields", None)
    name = type(tree).__name__
    return f"{name} of {', '.join(fields)}" if fields else name


def _shapes(tree: Any) -> dict[str, Any]:
    leaves = jax.tree.leaves_with_path(tree)
    return {
        f"state{jax.tree_util.keystr(path)}": jnp.shape(leaf)
        if hasattr(leaf, "shape")
        else f"none (a {type(leaf).__name__})"
        for path, leaf in leaves
    }
