"""Checks of loss functions, parameters and arguments, and their error messages."""

from __future__ import annotations

import inspect
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ._partition import Partition, is_array

# ---- State that a loss function changes in place, such as batch statistics.
# apical calls a loss function many times, on copies of its arguments, so that no call
# sees the changes of another. Changes must be returned in `aux`: otherwise they would
# be lost without an error (constant statistics, the same dropout at every step).

_CONTAINERS = (dict, list, tuple, OrderedDict, defaultdict, type(None))


def on_copies(loss_fn: Callable[..., Any]) -> Callable[..., Any]:
    """The loss function on new objects that hold the same arrays."""

    def call(params: Any, *args: Any) -> Any:
        params, args = jax.tree.map(lambda leaf: leaf, (params, args))
        return loss_fn(params, *args)

    return call


class InPlaceChanges:
    """The objects among the arguments of a loss function, before it is called."""

    def __init__(self, params: Any, args: tuple[Any, ...]) -> None:
        self._before = [
            (name, item, _leaves(item))
            for name, tree in (("params", params), ("args", args))
            for name, item in _objects(name, tree)
        ]

    def require_returned(self, result: Any) -> None:
        """Raise for a change in place that `loss_fn` does not return."""
        returned = {id(leaf) for leaf in jax.tree.leaves(result)}
        lost = [
            name + path
            for name, item, before in self._before
            for path, leaf in _leaves(item).items()
            if leaf is not before.get(path) and id(leaf) not in returned
        ]
        if lost:
            more = f" and {len(lost) - 1} more" if lost[1:] else ""
            raise ValueError(
                f"`loss_fn` changes `{lost[0]}`{more} in place, and the change would "
                "be lost: it acts on a copy, as under `jax.jit`. Return the new values "
                "unchanged beside the loss (`has_aux=True`), carry them on from "
                "`credit.aux`, and hand them over as an argument that all examples "
                "share (None in `batch_axes`), not among the parameters. With "
                "flax.nnx: `graph, params, state = nnx.split(model, nnx.Param, ...)`, "
                "and in `loss_fn(params, state, x, y)` first `model = nnx.merge(graph, "
                "params, state)`, at the end `return loss, nnx.state(model, "
                "nnx.Not(nnx.Param))`."
            )


def _objects(name: str, tree: Any) -> Iterator[tuple[str, Any]]:
    """Objects of the user's and of packages, which can be changed in place."""
    found = jax.tree.leaves_with_path(
        tree, is_leaf=lambda item: not isinstance(item, _CONTAINERS)
    )
    for path, item in found:
        if not jax.tree_util.all_leaves([item]):
            yield name + jax.tree_util.keystr(path), item


def _leaves(item: Any) -> dict[str, Any]:
    try:
        found = jax.tree.leaves_with_path(item)
    except ValueError:  # used up: its successor is another object (equinox's `State`)
        return {}
    return {jax.tree_util.keystr(path): leaf for path, leaf in found}


# Errors of JAX and flax for a tracer that leaked from its trace.
_ESCAPES = ("UnexpectedTracerError", "TraceContextError")
# Attributes of other libraries' arrays; NumPy dtypes of text, objects and dates.
_ARRAY_LIKE = ("__jax_array__", "__array__")
_NO_NUMBERS = tuple("OSUMm")
_SHOWN = 6  # the number of leaves listed in a message


def kind(value: Any) -> str:
    """The kind of a value, for messages."""
    return "an array" if is_array(value) else f"a {type(value).__name__}"


def require_function(given: Any, name: str) -> None:
    """Require a callable."""
    if not callable(given):
        raise TypeError(
            f"`{name}` must be a function of `(params, *args)`, not {kind(given)}."
        )


def require_arrays(params: Any, args: tuple[Any, ...]) -> None:
    """Raise for numeric leaves that are not arrays: they would be constants."""
    for name, tree in (("params", params), ("args", args)):
        for path, leaf in jax.tree.leaves_with_path(tree):
            problem = _no_array(leaf)
            if problem:
                where = f"{name}{jax.tree_util.keystr(path)}"
                raise TypeError(f"`{where}` is {problem}")


def _no_array(leaf: Any) -> str:
    """The problem with a leaf; empty for arrays and for leaves without numbers."""
    if isinstance(leaf, jax.Ref):
        return "a mutable array (`jax.new_ref`). Hand over its value, `ref[...]`."
    if getattr(getattr(leaf, "dtype", None), "kind", "") in _NO_NUMBERS:
        return (
            f"an array of {leaf.dtype}, which JAX cannot compute with. Leave it out, "
            "or hand over numbers."
        )
    if is_array(leaf) or not any(hasattr(type(leaf), m) for m in _ARRAY_LIKE):
        return ""
    found = type(leaf)
    problem = (
        f"a {found.__module__.split('.')[0]} {found.__name__}, not an array, so it"
    )
    if isinstance(getattr(leaf, "value", None), jax.Array):
        remedy = (
            "Hand over its value: `[v.value for v in variables]`, which a Keras model "
            "takes in `model.stateless_call(trainable, non_trainable, x)`."
        )
    else:
        remedy = "Make one of it: `jnp.asarray(x)`."
    return f"{problem} would be taken for a constant. {remedy}"


def require_arguments(function: Any, args: tuple[Any, ...], message: str) -> None:
    """Raise for arguments that a function does not take, before it is called.

    Args:
      function: the user's function; not checked if it has no signature.
      args: the arguments of the call.
      message: the problem, and how to fix it.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args)
    except TypeError as error:
        raise TypeError(
            f"{message} ({error}; its parameters are {signature})"
        ) from None


def call_loss(loss_fn: Callable[..., Any], params: Any, args: tuple[Any, ...]) -> Any:
    """The loss function's result; notes on its errors list its arguments."""
    require_arguments(
        loss_fn,
        (params, *args),
        f"`loss_fn` cannot be called with `params` and {len(args)} more. After "
        "`params` give what it takes, no more and no less: `init(key, params, *args)`, "
        "then `learner(params, state, *args)`",
    )
    changes = InPlaceChanges(params, args)
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
                "argument that all examples share (None in `batch_axes`), and return "
                "its new value beside the loss (`has_aux=True`). With flax.nnx, "
                "`nnx.split` takes the module apart and `nnx.merge` inside `loss_fn` "
                "makes it of `params` and `state`."
            )
        raise
    changes.require_returned(result)
    return result


def _form(tree: Any) -> str:
    """A description of a tree: the path, dtype and shape of each leaf."""
    leaves = jax.tree.leaves_with_path(tree)
    shown = [
        f"{jax.tree_util.keystr(path)} {_leaf(leaf)}".strip() for path, leaf in leaves
    ]
    more = [f"and {len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else []
    return f"({', '.join([*shown[:_SHOWN], *more])})"


def _leaf(leaf: Any) -> str:
    if is_array(leaf):
        return f"{leaf.dtype}{list(leaf.shape)}"
    return f"({kind(leaf)})"


# ---- Structure and shapes of the values that a circuit is evaluated with.


def pick(leaves: Partition, tree: Any, name: str) -> list[Any]:
    """The arrays of `params` or `args`; raises for another structure."""
    if name == "args" and not isinstance(tree, tuple):
        raise TypeError(
            "`args` must be the tuple of the arguments after `params`, as `(x, y)` or "
            f"`(x,)`, not {kind(tree)}."
        )
    try:
        learned, arrays = leaves.split(tree)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must have the structure that the circuit was traced with: "
            f"{_short(error)} Trace it anew: `apical.trace(loss_fn)(params, *args)`."
        ) from error
    return [*learned, *arrays]


def require_shapes(
    given: Sequence[Any],
    shapes: Sequence[tuple[int, ...]],
    params: Partition,
    args: Partition,
) -> None:
    """Raise for inputs of other shapes: constants of the program depend on them."""
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
    """Values by site, as a new dictionary."""
    if not isinstance(values, Mapping):
        raise TypeError(
            f"`{name}` must be a dictionary from the names of nodes to arrays, not "
            f"{kind(values)}."
        )
    return dict(values)


def require_values(
    values: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], name: str
) -> None:
    """Require values with the shapes of their sites."""
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
    """Require feedback whose leaves are None or have the parameter's shape."""
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
    """An error of JAX on one line, truncated, since it may contain whole arrays."""
    text = " ".join(str(error).split())
    return text if len(text) <= most else f"{text[:most]}..."
