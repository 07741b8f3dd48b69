"""The input of the network, for rules that change it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..circuit import Circuit, nodes_made_of


def require_heard(circuit: Circuit, rule: str) -> None:
    """Refuse inputs of which no node is made, as a target."""
    positions = circuit.setting.inputs or ()
    if not nodes_made_of(circuit, positions):
        raise ValueError(
            f"{rule} changes the input of the network, and no node is made of "
            f"`inputs={positions}`: positions are counted from 0 after `params`."
        )


def inputs_of(circuit: Circuit, args: tuple[Any, ...], rule: str) -> tuple[Any, ...]:
    """The arguments that `inputs=` names, or refuse."""
    positions = circuit.setting.inputs
    if positions is None:
        raise ValueError(
            f"{rule} changes the input of the network: pass `inputs=`, the position of "
            "it among the arguments after `params`, as in "
            "`apical.value_and_grad(loss_fn, rule, inputs=0)`."
        )
    if max(positions) >= len(args):
        raise ValueError(
            f"`inputs={positions}` names argument {max(positions)}, and there are "
            f"{len(args)} after `params`: the first of them is 0."
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
    """The arguments with other values of those that `inputs=` names."""
    positions = circuit.setting.inputs or ()
    changed = dict(zip(positions, values, strict=True))
    return tuple(changed.get(i, a) for i, a in enumerate(args))
