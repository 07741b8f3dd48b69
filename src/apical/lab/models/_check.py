"""Whether a model that was built is one that can be trained on this data."""

from typing import Any

import jax
import jax.numpy as jnp

from apical.lab._dataset import Data
from apical.lab._errors import LabError
from apical.lab.models._layout import layout_said

_TRIED = 2  # examples


def check_model(
    model: Any, statistics: Any, data: Data, name: str = "the model"
) -> None:
    """Run a model on two examples, without computing, and refuse what does not fit.

    Args:
        model: the model.
        statistics: its running statistics; None if it has none.
        data: what it is to be trained on.
        name: the model's name, for messages.

    Raises:
        LabError: there is nothing to learn in the model, it fails when it is called,
            its logits are of a wrong shape, or its statistics change their form.
    """
    if not any(_learned(leaf) for leaf in jax.tree.leaves(model)):
        raise LabError(
            f"{name} has no floating-point array to learn: its factory returned "
            f"{_told(model)}. A model is a pytree; of a function and parameters make "
            "jax.tree_util.Partial(function, parameters)"
        )
    for training in (True,) if statistics is None else (True, False):
        logits, new = _called(name, model, statistics, data, training)
        _check_logits(name, logits, data)
        _check_statistics(name, statistics, new)


def _called(
    name: str, model: Any, statistics: Any, data: Data, training: bool
) -> tuple[Any, Any]:
    x = jax.ShapeDtypeStruct((_TRIED, *data.shape), data.train_x.dtype)

    def call(x: jax.Array) -> Any:
        return model(x) if statistics is None else model(x, statistics, training)

    called = "model(x)" if statistics is None else f"model(x, statistics, {training})"
    try:
        result = jax.eval_shape(call, x)
    except Exception as error:
        raise LabError(
            f"{name} failed when called as {called} with x of the shape {x.shape} and "
            f"type {x.dtype}: {type(error).__name__}: {error}. "
            f"{layout_said(data)}"
        ) from error
    if statistics is None:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise LabError(
            f"{name} was built with statistics, so {called} must return the logits and "
            f"the new statistics, but it returned {_told(result)}"
        )
    return result


def _check_logits(name: str, logits: Any, data: Data) -> None:
    time = data.shape if data.kind == "characters" else ()
    wanted = (_TRIED, *time, data.classes)
    found = getattr(logits, "shape", None)
    if found != wanted:
        last = "outputs" if data.has_numbers else "classes"
        axes = f"(examples, {'time, ' if time else ''}{last})"
        raise LabError(
            f"{name} gives {_told(logits) if found is None else found} for {_TRIED} "
            f"examples of {data.name}; its outputs must have the shape {wanted}, {axes}"
        )
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise LabError(
            f"{name} gives outputs of the type {logits.dtype}; they must be "
            "floating-point numbers"
        )


def _check_statistics(name: str, old: Any, new: Any) -> None:
    before, after = _forms(old), _forms(new)
    if before != after:
        raise LabError(
            f"{name} must return statistics of the form that it was given, "
            f"{before[0]} with {before[1]}, but returned {after[0]} with {after[1]}"
        )


def _forms(tree: Any) -> tuple[Any, list[str]]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [f"{jnp.result_type(x)} {jnp.shape(x)}" for x in leaves]


def _learned(leaf: Any) -> bool:
    return jnp.issubdtype(getattr(leaf, "dtype", int), jnp.floating)


def _told(value: Any) -> str:
    return f"a {type(value).__name__}"
