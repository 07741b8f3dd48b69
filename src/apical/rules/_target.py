"""The target of the output, for rules that see it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..circuit import Circuit, require_arguments

SQUARED_ERROR = "squared-error"


def target_of(circuit: Circuit, args: tuple[Any, ...], rule: str) -> jax.Array:
    """What the output should be, from `target=`, or refuse."""
    if circuit.setting.target is None:
        raise ValueError(
            f"{rule} sees what the output should be: pass `target=`, a function of the "
            "arguments after `params`, as in `apical.value_and_grad(loss_fn, rule, "
            "target=lambda x, y: y)`."
        )
    require_arguments(
        circuit.setting.target,
        args,
        f"`target` cannot be called with the {len(args)} arguments after `params`: "
        "write it as `target=lambda x, y: y`, without `params`",
    )
    target = circuit.setting.target(*args)
    output = circuit.output_shape
    if not hasattr(target, "shape"):
        raise ValueError(
            f"`target` returned a {type(target).__name__}, and should return an array "
            f"of the output's shape, {output.shape}."
        )
    several = ""
    if not circuit.joined.alone:
        several = (
            f" The loss reads {len(circuit.outputs)} outputs side by side; mark the "
            "one that `target` is about: `y = apical.output(y)`."
        )
    if jnp.shape(target) != output.shape:
        raise ValueError(
            f"`target` returned shape {jnp.shape(target)}, and the output has shape "
            f"{output.shape}. (Labels that are numbers of classes become targets by "
            f"`jax.nn.one_hot(labels, classes)`.){several}"
        )
    return jnp.asarray(target).astype(output.dtype)


def squared_error(circuit: Circuit, output: jax.Array, target: jax.Array) -> jax.Array:
    """Half the squared distance of the output to its target, reduced as the loss is."""
    distance = jnp.sum(jnp.square(jnp.abs(output - target)))
    return distance / (2 * circuit.scale)


def matching(
    circuit: Circuit, drive: jax.Array, output: jax.Array, target: jax.Array
) -> jax.Array:
    """A scalar whose gradient by the drive of the output is output - target.

    That is the gradient of the squared error where the output is linear, and of the
    cross-entropy where it is a logistic function or a softmax of its drive.
    """
    miss = jax.lax.stop_gradient(output - target)
    return jnp.vdot(miss, drive).real / circuit.scale
