"""Circuits in which the weights of frozen networks, given as arguments, are weights.

A frozen network is an argument that all examples share. To a circuit it is data, so
that signals pass back through it as it is. Here its weights stand beside the
parameters,

    L(params, *args)  ->  L({params, frozen}, *args),

in a second trace of the loss function, so that they can have feedback weights; nothing
is learned there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax

from ._analysis._graph import walk
from ._circuit import Circuit
from ._trace import trace_spec


class WithFrozen(NamedTuple):
    """The parameters, and the weights of frozen networks; or what stands for them.

    Attributes:
      params: the pytree of the parameters.
      frozen: the weights of frozen networks, by their path in the arguments after
        `params`, as `"0.w"`.
    """

    params: Any
    frozen: dict[str, Any]


def frozen_paths(circuit: Circuit, positions: Sequence[int] | None) -> tuple[str, ...]:
    """The paths of the weights of frozen networks among the arguments.

    Args:
      circuit: of the loss function.
      positions: of the arguments, counted from 0 after `params`; None for every one.

    Raises:
      ValueError: for an argument without such a weight.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> from apical.circuit import frozen_paths
      >>> def loss_fn(w, frozen, x):
      ...     return jnp.mean(jnp.tanh(jnp.tanh(x @ w) @ frozen["w"]) ** 2)
      >>> args = {"w": jnp.eye(2)}, jnp.ones((3, 2))
      >>> circuit = apical.trace(loss_fn, batch_axes=(None, 0))(jnp.eye(2), *args)
      >>> frozen_paths(circuit, None)
      ('0.w',)
    """
    found = (each.path for each in circuit.structure.frozen)
    paths = dict.fromkeys(path for path in found if path is not None)
    if positions is None:
        return tuple(paths)
    numbered = circuit.structure.args.treedef.unflatten(circuit.structure.args.paths)
    at = {p: i for i, arg in enumerate(numbered) for p in jax.tree.leaves(arg)}
    chosen = {path: at[path] for path in paths}
    for position in positions:
        if position not in chosen.values():
            listed = ", ".join(map(str, circuit.structure.frozen)) or "none"
            raise ValueError(
                f"`frozen_feedback` names argument {position} (counted from 0 after "
                "`params`), and no signal passes back through a weight in it that all "
                f"examples share (None in `batch_axes`). Such weights are: {listed}."
            )
    return tuple(p for p in paths if chosen[p] in positions)


def beside_params(
    circuit: Circuit, params: Any, args: tuple[Any, ...], paths: Sequence[str]
) -> WithFrozen:
    """The parameters, and the weights at these paths of the arguments."""
    given = circuit.structure.args
    flat = given.treedef.flatten_up_to(args)
    at = {path: flat[i] for i, path in enumerate(given.paths)}
    return WithFrozen(params, {path: at[path] for path in paths})


_WIDENED: WeakKeyDictionary[Circuit, dict[tuple[str, ...], Circuit]] = (
    WeakKeyDictionary()
)


def with_frozen(
    circuit: Circuit, params: Any, args: tuple[Any, ...], paths: Sequence[str]
) -> Circuit:
    """The circuit of the same loss as a function of `beside_params(...)`.

    The weights at these paths are leaves like the parameters: they meet activities in
    synapses, and can have feedback weights. `args` stays the same.

    Args:
      circuit: of the loss function.
      params: the parameters.
      args: the arguments after them.
      paths: of the weights in the arguments (`frozen_paths`).
    """
    known = _WIDENED.setdefault(circuit, {})
    key = tuple(paths)
    if key not in known:
        whole = beside_params(circuit, params, args, key)
        known[key] = trace_spec(_widened(circuit), circuit.spec, whole, args)
    return known[key]


def _widened(circuit: Circuit) -> Any:
    loss_fn, given = circuit.loss_fn, circuit.structure.args

    def loss_of_all(whole: WithFrozen, *args: Any) -> Any:
        flat = given.treedef.flatten_up_to(args)
        replaced = [
            whole.frozen.get(path, leaf)
            for path, leaf in zip(given.paths, flat, strict=True)
        ]
        return loss_fn(whole.params, *given.treedef.unflatten(replaced))

    return loss_of_all


def same_nodes(circuit: Circuit, whole: Circuit) -> dict[str, str]:
    """For each node of a circuit, its name in the circuit with frozen weights."""
    ours, theirs = (
        [n for site in walk(c.structure.flow.program.body) for n in site.op.outputs]
        for c in (circuit, whole)
    )
    at = dict(zip(ours, theirs, strict=True))
    names = whole.structure.names
    return {name: names[at[n]] for n, name in circuit.structure.names.items()}
