"""Checks of the arguments of a call: key, state, inputs, target, number of steps.

Each check raises an error that says what to pass. The module also has the squared error
to the target and its gradient with respect to the drive of the output.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from ..circuit import Circuit, nodes_depending_on, over_devices, require_arguments

# ---- The key and the state.


def require_key(key: Any) -> None:
    """Require a single key, typed or raw (not a seed, nor the parameters)."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if shape != () if typed else (dtype != jnp.uint32 or len(shape or ()) != 1):
        found = (
            f"a {type(key).__name__}"
            if dtype is None
            else f"{dtype}{list(shape or ())}"
        )
        raise TypeError(
            f"`key` must be one key, as `jax.random.key(0)` makes it, not {found}; it "
            "is the first argument: `init(key, params, *args)`."
        )


@contextmanager
def explaining_misfit(state: Any, init: Callable[[jax.Array], Any]) -> Iterator[None]:
    """Explain an error inside the block if the state differs from that of `init`.

    The state is inspected only after an error, so this costs nothing.
    """
    try:
        yield
    except Exception as error:
        reason = _misfit(state, init)
        if reason is None:
            raise
        raise ValueError(
            f"`state` does not fit this rule and model: {reason}. Pass what "
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
    """The first difference in structure or shape between two trees; None if equal."""
    if isinstance(wanted, jax.ShapeDtypeStruct):
        known = getattr(found, "shape", None) == wanted.shape
        expected = f"an array of shape {wanted.shape}"
        return None if known else f"it is {_described(found)}, and should be {expected}"
    if type(found) is not type(wanted):
        name = _name_and_fields(wanted)
        return f"it is a {type(found).__name__}, and should be a {name}"
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


def _described(found: Any) -> str:
    shape = getattr(found, "shape", None)
    return f"a {type(found).__name__}" if shape is None else f"of shape {shape}"


def _name_and_fields(tree: Any) -> str:
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


# ---- The input of the network, for rules that change it (`input_argnums=`).


def require_inputs_reach_nodes(circuit: Circuit, rule: str) -> None:
    """Require inputs on which some node depends (a target is not one)."""
    positions = circuit.spec.input_argnums or ()
    if not nodes_depending_on(circuit, positions):
        raise ValueError(
            f"{rule} changes the input of the network, and no node depends on "
            f"`input_argnums={positions}`: positions are counted from 0 after `params`."
        )


def inputs_of(circuit: Circuit, args: tuple[Any, ...], rule: str) -> tuple[Any, ...]:
    """The arguments given by `input_argnums=`; raise if there are none."""
    positions = circuit.spec.input_argnums
    if positions is None:
        raise ValueError(
            f"{rule} changes the input of the network: pass `input_argnums=`, the "
            "position of it among the arguments after `params`, as in "
            "`apical.value_and_grad(loss_fn, rule, input_argnums=0)`."
        )
    if max(positions) >= len(args):
        raise ValueError(
            f"`input_argnums={positions}` names argument {max(positions)}, and there "
            f"are {len(args)} after `params`: the first of them is 0."
        )
    for position in positions:
        _require_numbers(args[position], position, rule)
    return tuple(args[i] for i in positions)


def _require_numbers(given: Any, position: int, rule: str) -> None:
    for path, leaf in jax.tree.leaves_with_path(given):
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise ValueError(
                f"{rule} writes real numbers into the input, and argument {position} "
                f"(after `params`){jax.tree_util.keystr(path)} is {dtype}: cast it "
                "with `.astype(float)`; ids of an embedding cannot be changed."
            )


def with_inputs(
    circuit: Circuit, args: tuple[Any, ...], values: Sequence[Any]
) -> tuple[Any, ...]:
    """The arguments, with those given by `input_argnums=` replaced."""
    positions = circuit.spec.input_argnums or ()
    changed = dict(zip(positions, values, strict=True))
    return tuple(changed.get(i, a) for i, a in enumerate(args))


# ---- The target of the output (`target=`), and the error relative to it.

SQUARED_ERROR = "squared-error"


def target_of(circuit: Circuit, args: tuple[Any, ...], rule: str) -> jax.Array:
    """The target of the output, from `target=`; raise if there is none."""
    if circuit.spec.target is None:
        raise ValueError(
            f"{rule} uses the target of the output: pass `target=`, a function of the "
            "arguments after `params`, as in `apical.value_and_grad(loss_fn, rule, "
            "target=lambda x, y: y)`."
        )
    require_arguments(
        circuit.spec.target,
        args,
        f"`target` cannot be called with the {len(args)} arguments after `params`: "
        "write it as `target=lambda x, y: y`, without `params`",
    )
    return _joined(circuit, circuit.spec.target(*args))


_LABELS = (
    "(Labels that are numbers of classes become targets by "
    "`jax.nn.one_hot(labels, classes)`.)"
)


def _joined(circuit: Circuit, target: Any) -> jax.Array:
    """The targets of all outputs as one array of the output's shape."""
    outputs, shape = circuit.batch.outputs, circuit.output_shape
    if not hasattr(target, "shape"):
        target = outputs.join(_in_order(circuit, target))
    several = ""
    if not outputs.alone:
        single = ", ".join(str(s.shape) for s in outputs.shapes)
        several = (
            f" The loss reads {len(outputs.shapes)} outputs, side by side "
            f"({circuit.structure.outputs_in_words}): return a tuple of their targets "
            f"in this order, of shapes {single}; or mark the one that `target` is "
            "about: `y = apical.output(y)`."
        )
    if circuit.spec.stepwise and (1, *jnp.shape(target)) == shape.shape:
        target = jnp.asarray(target)[None]  # of a loss that is one step of a loop
    if jnp.shape(target) != shape.shape:
        raise ValueError(
            f"`target` returned shape {jnp.shape(target)}, and the output has shape "
            f"{shape.shape}. {_LABELS}{several}"
        )
    return jnp.asarray(target).astype(shape.dtype)


def _in_order(circuit: Circuit, target: Any) -> list[Any]:
    """The targets in a pytree, in the order of the outputs.

    They are paired by their keys where the outputs were marked as such a pytree; a
    tuple or list is otherwise in the order of the loss function.
    """
    outputs, keys = circuit.batch.outputs, circuit.structure.output_keys
    pairs = jax.tree_util.tree_leaves_with_path(target)
    given = {jax.tree_util.keystr(path): leaf for path, leaf in pairs}
    if len(set(keys)) == len(keys) and set(keys) == set(given) and any(keys):
        found = [given[key] for key in keys]
    elif isinstance(target, (tuple, list)) and len(target) == len(given) == len(keys):
        found = list(given.values())
    else:
        names = ", ".join(given) or "nothing"
        raise ValueError(
            f"`target` returned a {type(target).__name__} with {names}, and should "
            f"return an array of the output's shape, {circuit.output_shape.shape}"
            + (
                "."
                if outputs.alone
                else f", or a tuple of {len(keys)}, one for each output in the order "
                f"of the loss function ({circuit.structure.outputs_in_words}). For a "
                "dictionary, mark the outputs as one with the same keys: "
                "`apical.output({'classes': logits, 'value': value})`."
            )
        )
    for each, output, key in zip(found, outputs.shapes, keys, strict=True):
        if jnp.shape(each) != output.shape:
            raise ValueError(
                f"`target` returned an array of shape {jnp.shape(each)}"
                f"{f' at {key}' if key else ''} for an output of shape {output.shape}."
                f" {_LABELS}"
            )
    return [jnp.asarray(each) for each in found]


def require_every_head(circuit: Circuit, rule: str) -> None:
    """Require that every head of the loss is an output, for rules without the loss."""
    for head in circuit.structure.heads_beside:
        raise ValueError(
            f"{rule} learns from the target of the output alone, and the loss reads "
            f"`{head.op.name}` at {head.op.where} beside the outputs that are marked: "
            "what makes it would never learn. Mark it too, and return a tuple of "
            "targets, or leave it out of the loss."
        )


def squared_error(circuit: Circuit, output: jax.Array, target: jax.Array) -> jax.Array:
    """Half the squared distance of the output to its target, reduced as the loss is."""
    distance = jnp.sum(jnp.square(jnp.abs(output - target)))
    return over_devices(distance) / (2 * circuit.scale)


def matching(
    circuit: Circuit, drive: jax.Array, output: jax.Array, target: jax.Array
) -> jax.Array:
    """A scalar whose gradient with respect to the output's drive is output - target.

    That is the gradient of the squared error where the output is linear, and of the
    cross-entropy where it is a logistic function or a softmax of its drive.
    """
    miss = jax.lax.stop_gradient(output - target)
    return over_devices(jnp.sum(jnp.conj(miss) * drive).real) / circuit.scale


# ---- The number of steps: enough for a signal from the loss to reach every node.

_NAMED = 4


def default_steps(circuit: Circuit, least: int, whole: bool = False) -> int:
    """The number of steps if none is given: enough for a signal to reach every node.

    Args:
      circuit: of the loss function.
      least: the minimum.
      whole: whether each step moves a value all the way to its target. The default is
        then the length of the longest path plus one step, which shows that the values
        have settled; otherwise it is twice that length.
    """
    return max(least, circuit.depth + 1 if whole else 2 * circuit.depth)


def warn_of_unreached_nodes(
    rule: str, steps: int, distances: Mapping[str, int], argument: str = "steps"
) -> None:
    """Warn where steps are too few for a signal to reach some node.

    The parameters of such a node get a gradient of exactly 0 (in a loop: nothing from
    its first steps), which the residual does not show.

    Args:
      rule: its name.
      steps: the number of steps it takes.
      distances: the steps that a signal needs to reach each node, in forward order.
      argument: the name of the rule's argument for this number.
    """
    unreached = [repr(name) for name, needed in distances.items() if needed > steps]
    if not unreached:
        return
    more = len(unreached) - _NAMED
    listed = ", ".join(unreached[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    needed = max(distances.values())
    warnings.warn(
        f"With `{argument}={steps}` of {rule} no signal from the loss reaches the "
        f"nodes {listed} (in a loop: its first steps), so the parameters that make "
        f"them learn nothing. It takes `{argument}={needed}` here: pass that or more"
        + (", or leave it at None." if argument.endswith("steps") else "."),
        stacklevel=4,
    )
