"""What a user's function is called with, and how that is told where it fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax

from ._in_place import Watch
from ._leaves import is_array

# What JAX and flax raise where a traced value left the trace that it belongs to.
_ESCAPES = ("UnexpectedTracerError", "TraceContextError")
# How other libraries' arrays are known, and NumPy's arrays of text, objects and dates.
_ARRAY_LIKE = ("__jax_array__", "__array__")
_NO_NUMBERS = tuple("OSUMm")
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


def require_arrays(params: Any, args: tuple[Any, ...]) -> None:
    """Refuse leaves that hold numbers and are no arrays: they would be constants."""
    for name, tree in (("params", params), ("args", args)):
        for path, leaf in jax.tree.leaves_with_path(tree):
            problem = _no_array(leaf)
            if problem:
                where = f"{name}{jax.tree_util.keystr(path)}"
                raise TypeError(f"`{where}` is {problem}")


def _no_array(leaf: Any) -> str:
    """What is wrong with a leaf; empty for arrays and for what holds no numbers."""
    if isinstance(leaf, jax.Ref):
        return "a mutable array (`jax.new_ref`). Hand over its value, `ref[...]`."
    if getattr(getattr(leaf, "dtype", None), "kind", "") in _NO_NUMBERS:
        return (
            f"an array of {leaf.dtype}, which JAX cannot compute with. Leave it out, "
            "or hand over numbers."
        )
    if is_array(leaf) or not any(hasattr(type(leaf), m) for m in _ARRAY_LIKE):
        return ""
    told = type(leaf)
    problem = f"a {told.__module__.split('.')[0]} {told.__name__}, not an array, so it"
    if isinstance(getattr(leaf, "value", None), jax.Array):
        remedy = (
            "Hand over its value: `[v.value for v in variables]`, which a Keras model "
            "takes in `model.stateless_call(trainable, non_trainable, x)`."
        )
    else:
        remedy = "Make one of it: `jnp.asarray(x)`."
    return f"{problem} would be taken for a constant. {remedy}"


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
    watch = Watch(params, args)
    try:
        result = loss_fn(params, *args)
    except Exception as error:
        error.add_note(
            "`loss_fn` raised this while apical traced it, as `jax.jit` does, with "
            f"params = {_form(params)} and args = {_form(args)}."
        )
        if type(error).__name__ in _ESCAPES:
            error.add_note(
                "It changes something that it was not handed, or an earlier call did: "
                "state of a module that it closes over, say. Hand state over as an "
                "argument that all examples share (None in `batch`), and return its "
                "new value beside the loss (`has_aux=True`). With flax.nnx, "
                "`nnx.split` takes the module apart and `nnx.merge` inside `loss_fn` "
                "makes it of `params` and `state`."
            )
        raise
    watch.require_returned(result)
    return result


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
