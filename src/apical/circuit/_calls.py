"""What a user's function is called with, and how that is told where it fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax

from ._leaves import is_array

_TOLD = 6  # leaves, so that a large model does not fill the screen


def kind(value: Any) -> str:
    """What a value is, for a message."""
    return "an array" if is_array(value) else f"a {type(value).__name__}"


def require_function(given: Any, name: str) -> None:
    """Refuse what cannot be called."""
    if not callable(given):
        raise TypeError(
            f"`{name}` must be a function of `(params, *args)`, not {kind(given)}."
        )


def require_arguments(function: Any, args: tuple[Any, ...], told: str) -> None:
    """Refuse arguments that a function does not take, before it is called.

    Args:
      function: the user's function; one without a signature is not looked at.
      args: what it is to be called with.
      told: what is to be done, for the message.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args)
    except TypeError as error:
        raise TypeError(f"{told} ({error}; its parameters are {signature})") from None


def call_loss(loss_fn: Callable[..., Any], params: Any, args: tuple[Any, ...]) -> Any:
    """The loss function's result; an error of its own says what it was given."""
    require_arguments(
        loss_fn,
        (params, *args),
        f"`loss_fn` cannot be called with `params` and {len(args)} more. After "
        "`params` give what it takes, no more and no less: `init(key, params, *args)`, "
        "then `learner(params, state, *args)`",
    )
    try:
        return loss_fn(params, *args)
    except Exception as error:
        error.add_note(
            "`loss_fn` raised this while apical traced it, as `jax.jit` does, with "
            f"params = {_form(params)} and args = {_form(args)}."
        )
        raise


def _form(tree: Any) -> str:
    """A tree in words: each leaf by its path, with dtype and shape."""
    leaves = jax.tree.leaves_with_path(tree)
    told = [
        f"{jax.tree_util.keystr(path)} {_leaf(leaf)}".strip() for path, leaf in leaves
    ]
    more = [f"and {len(told) - _TOLD} more"] if len(told) > _TOLD else []
    return f"({', '.join([*told[:_TOLD], *more])})"


def _leaf(leaf: Any) -> str:
    if is_array(leaf):
        return f"{leaf.dtype}{list(leaf.shape)}"
    return f"({kind(leaf)})"
