"""Positive and negative data: arguments that replace those of the batch.

    x[i, :classes] = label[i] max_j |x[i, j]|      (label[i] if x[i] is 0)

By default a label is written over the first entries of each example: the right class in
positive data, another one in negative data. User-defined functions can replace both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import Circuit, beside, is_concrete, key_of_device, require_arguments
from .._call_checks import inputs_of, require_inputs_reach_nodes, target_of, with_inputs

# Maps a key and the arguments after `params` to other arguments.
Pair = Callable[..., tuple[Any, ...]]
# Maps an input and a label for each example to the input with these labels.
Overlay = Callable[[Any, jax.Array], Any]


def make_arguments(
    circuit: Circuit, params: Any, args: Any, key: jax.Array, make: Pair, name: str
) -> tuple[Any, ...]:
    """The arguments made by `positive` or `negative`; raises if shapes do not fit."""
    require_arguments(
        make,
        (key, *args),
        f"`{name}` cannot be called with a key and the {len(args)} arguments after "
        f"`params`: write it as `{name}=lambda key, x, y: ...`",
    )
    found = make(key, *args)
    if not isinstance(found, (tuple, list)) or len(found) != len(args):
        raise ValueError(
            f"`{name}` must return a tuple of the {len(args)} arguments after "
            f"`params`, as `lambda key, *args: args` does, not {_described(found)}."
        )
    try:
        circuit.inputs(params, tuple(found))
    except ValueError as error:
        raise ValueError(
            f"`{name}` returned arguments that do not fit those it was given: {error}"
        ) from error
    return tuple(found)


def _described(found: Any) -> str:
    if isinstance(found, (tuple, list)):
        return f"{len(found)} of them"
    return f"a {type(found).__name__}"


def example_axis(circuit: Circuit, position: int, rule: str) -> int:
    """The axis of the examples of an argument, from `batch_axes=`."""
    batch = circuit.spec.batch_axes
    axis = batch[position] if isinstance(batch, (tuple, list)) else batch
    if not isinstance(axis, (int, np.integer)):
        raise ValueError(
            f"{rule} needs to know where the examples are in argument {position} "
            f"(after `params`), and `batch_axes` is {axis!r} for it: pass an integer."
        )
    return int(axis)


def over_first_entries(x: jax.Array, label: jax.Array) -> jax.Array:
    """The label in place of the first entries of each example."""
    flat = jnp.asarray(x).reshape(len(x), -1)
    largest = jnp.max(jnp.abs(flat), axis=1, keepdims=True)
    size = jnp.where(largest > 0, largest, 1)
    written = beside((size * label).astype(x.dtype), flat)
    rest = flat[:, label.shape[1] :]
    return jnp.concatenate([written, rest], axis=1).reshape(x.shape)


def labelled(
    circuit: Circuit, args: Any, overlay: Overlay | None, label: jax.Array, rule: str
) -> tuple[Any, ...]:
    """The arguments, with a label for each example written over the input."""
    (x,) = inputs_of(circuit, args, rule)
    return with_inputs(circuit, args, ((overlay or over_first_entries)(x, label),))


def require_labels(
    circuit: Circuit, args: Any, overlay: Overlay | None, rule: str
) -> None:
    """Require that a label for each example can be written over the input."""
    inputs, fix = inputs_of(circuit, args, rule), "Pass `positive` and `negative`."
    target = target_of(circuit, args, rule)
    if not circuit.batch.outputs.alone:
        raise ValueError(
            f"{rule} writes one label over each example, and the loss reads several "
            f"outputs ({circuit.structure.outputs_in_words}). Mark the one whose "
            f"labels `target` returns: `logits = apical.output(logits)`. {fix}"
        )
    if target.ndim != 2 or target.shape[1] < 2:
        raise ValueError(
            f"{rule} writes a label over each example, which must be a class, and "
            f"`target` has shape {target.shape}, not (examples, classes) with two "
            f"classes or more: a regression has none. {fix}"
        )
    if len(inputs) != 1:
        raise ValueError(
            f"{rule} writes a label over one input, and `input_argnums` names "
            f"{len(inputs)}. " + fix
        )
    _require_classes(target, rule, fix)
    require_inputs_reach_nodes(circuit, rule)
    if overlay is None:
        _require_room(circuit, inputs[0], target, rule)


def _require_classes(target: jax.Array, rule: str, fix: str) -> None:
    """Require targets that are probabilities of classes."""
    if is_concrete(target):
        rows = np.asarray(target, float)
        if np.any(rows < 0) or not np.allclose(rows.sum(axis=1), 1, atol=1e-3):
            raise ValueError(
                f"{rule} writes the label of an example's class over it, and a row of "
                "`target` is not a class: its entries must be 0 or more and sum to 1, "
                f"as `jax.nn.one_hot` gives; a regression has no classes. {fix}"
            )


def _require_room(circuit: Circuit, x: Any, target: jax.Array, rule: str) -> None:
    fix = "Pass `overlay`, a function of the input and a label for each example."
    (position,) = circuit.spec.input_argnums or (0,)
    if example_axis(circuit, position, rule) != 0 or not hasattr(x, "shape"):
        raise ValueError(
            f"{rule} writes labels over the first entries of an input that is one "
            f"array with the examples on axis 0; argument {position} is not. {fix}"
        )
    room, classes = x.size // len(x), target.shape[1]
    if room <= classes:
        raise ValueError(
            f"{rule} writes labels over the first entries of the input, and an example "
            f"has {room} of them for {classes} classes. {fix}"
        )


def wrong_labels(key: jax.Array, target: jax.Array) -> jax.Array:
    """For each example one of the other classes, with equal probabilities."""
    examples, classes = target.shape
    own = key_of_device(key, target)
    shift = jax.random.randint(own, (examples,), 1, classes)
    other = (jnp.argmax(target, axis=1) + shift) % classes
    return jax.nn.one_hot(other, classes, dtype=target.dtype)
