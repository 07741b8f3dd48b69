"""The state that a sequence carries from one call of the loss to the next.

`carry=(position, path)` names the argument that a call starts from, and where `aux`
holds the value that the next call starts from. A loss function without a loop is then
one step of a loop: `as_loop` writes it as a scan of one step, so that every rule
through time works on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ._loss_spec import LossSpec
from ._partition import is_array


def carry_of(spec: LossSpec, args: tuple[Any, ...], rule: str) -> tuple[int, Any]:
    """The position of the carry among the arguments, and its path in `aux`.

    Raises:
      ValueError: without `carry=` and `has_aux`, or for a position without an argument.
    """
    if spec.carry is None or not spec.has_aux:
        raise ValueError(
            f"{rule} follows a sequence from call to call: pass `has_aux=True` and "
            "`carry=`, the position of what a call starts from and where `aux` holds "
            "what it ended with, as in `apical.value_and_grad(loss_fn, rule, "
            "has_aux=True, carry=(0, 'h'))`."
        )
    position, path = spec.carry
    if position >= len(args):
        raise ValueError(
            f"`carry` names argument {position}, and there are {len(args)} after "
            "`params`: the first of them is 0."
        )
    return position, path if isinstance(path, tuple) else (path,)


_MISSING = "`carry` looks for {key!r} in `aux`, and does not find it there"


def at_path(aux: Any, path: Any, missing: str = _MISSING) -> Any:
    """The value in `aux` at a key, position or attribute, or a tuple of them.

    Raises:
      ValueError: if it is not there: `missing` with the `{key}`, and what is there.
    """
    for key in path if isinstance(path, tuple) else (path,):
        try:
            aux = getattr(aux, key) if _is_field(aux, key) else aux[key]
        except (KeyError, IndexError, TypeError) as error:
            shapes = jax.tree.map(jnp.shape, aux)
            raise ValueError(f"{missing.format(key=key)}: {shapes}.") from error
    return aux


def require_same_carry(
    start: Any, end: Any, position: int, path: Any, *, dtypes: bool = True
) -> None:
    """Require that the next call can start from what a call ended with.

    Both have one structure, one shape for each leaf, and with `dtypes` one dtype.
    """
    kind = _shape_and_dtype if dtypes else jnp.shape
    found = [jax.tree.map(kind, tree) for tree in (start, end)]
    if found[0] != found[1]:
        same = "structure, shape and dtype" if dtypes else "structure and shape"
        raise ValueError(
            f"A call starts from {found[0]} (argument {position} after `params`) and "
            f"ends with {found[1]} (in `aux` at {path!r}): the next one could not "
            f"start from that. Let both have one {same}."
        )


def _shape_and_dtype(leaf: Any) -> str:
    return f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}"


def _is_field(aux: Any, key: Any) -> bool:
    return isinstance(key, str) and not isinstance(aux, dict) and hasattr(aux, key)


def as_loop(loss_fn: Callable[..., Any], spec: LossSpec) -> Callable[..., Any]:
    """The loss function `(loss, aux)` as a loop of one step.

    The other arguments are inputs of the step, since they differ from call to call.
    """

    def looped(params: Any, *args: Any) -> Any:
        position, path = carry_of(spec, args, "A rule through time")
        rest = [*args[:position], *args[position + 1 :]]
        leaves, treedef = jax.tree.flatten(rest)
        others = [None if is_array(x) else x for x in leaves]
        structure: list[Any] = []

        def step(carry: Any, arrays: Any) -> Any:
            found = iter(arrays)
            given = treedef.unflatten(next(found) if x is None else x for x in others)
            given.insert(position, carry)
            loss, aux = loss_fn(params, *given)
            end = at_path(aux, path)
            require_same_carry(carry, end, position, path)
            kept, structure[:] = _arrays_of(aux)
            return end, (loss, kept)

        start = jax.tree.map(jnp.asarray, args[position])
        arrays = [jnp.asarray(x)[None] for x in leaves if is_array(x)]
        _, (loss, kept) = jax.lax.scan(step, start, arrays, length=1)
        found = iter(x[0] for x in kept)
        parts, built = structure
        return loss[0], built.unflatten(next(found) if x is None else x for x in parts)

    return looped


def _arrays_of(tree: Any) -> tuple[list[Any], tuple[Any, Any]]:
    """The arrays of a tree, and the rest of it with None in their places."""
    leaves, treedef = jax.tree.flatten(tree)
    arrays = [x for x in leaves if is_array(x)]
    return arrays, ([None if is_array(x) else x for x in leaves], treedef)
