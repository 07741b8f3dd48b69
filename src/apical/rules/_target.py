"""The target of the output, for rules that see it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..circuit import Circuit, require_arguments


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
