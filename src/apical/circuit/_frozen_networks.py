"""Circuits in which the weights of frozen networks are weights that can have feedback.

A frozen network is an argument that all examples share, or a constant that the loss
function closes over. To a circuit it is no weight, so that signals pass back through it
as it is. Here its weights stand beside the parameters,

    L(params, *args)  ->  L({params, frozen}, *args),

in a second trace of the loss function, so that they can have feedback weights; nothing
is learned there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp

from ._analysis._effective_weights import CONSTANTS
from ._batching._batch import Batch
from ._circuit import Circuit
from ._program_constants import constant_arrays
from ._trace import trace_spec
from ._widening import Widening


class WithFrozen(NamedTuple):
    """The parameters, and the weights of frozen networks; or what stands for them.

    Attributes:
      params: the pytree of the parameters.
      frozen: the weights of frozen networks, by their path in the arguments after
        `params`, as `"0.w"`, or among the arrays that the loss function closes over,
        as `"constants.0"`.
    """

    params: Any
    frozen: dict[str, Any]


def frozen_paths(
    circuit: Circuit, positions: Collection[int | str] | None
) -> tuple[str, ...]:
    """The paths of the weights of frozen networks.

    Args:
      circuit: of the loss function.
      positions: of the arguments, counted from 0 after `params`, and `"constants"` for
        what the loss function closes over; None for every one.

    Raises:
      ValueError: for an argument without such a weight, and for a constant that cannot
        be replaced.

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
    given, found = circuit.structure.args, circuit.structure.frozen
    numbered = given.treedef.unflatten(given.paths)
    at: dict[str, int | str] = {
        path: i for i, arg in enumerate(numbered) for path in jax.tree.leaves(arg)
    }
    chosen: dict[str, None] = {}
    named = set[int | str]()
    for each in found:
        place = CONSTANTS if each.path is None else at.get(each.path, CONSTANTS)
        if positions is not None and place not in positions:
            continue
        if each.path is None:
            raise ValueError(
                f"{each} cannot have feedback weights: an outer transformation of JAX "
                "traces it, or an operation with code of its own holds it. Make it an "
                "argument of `loss_fn` (None in `batch_axes`), or leave out "
                "`frozen_feedback`."
            )
        chosen[each.path] = None
        named.add(place)
    for position in positions or ():
        if position not in named:
            listed = ", ".join(dict.fromkeys(map(str, found))) or "none"
            what = (
                "what the loss function closes over"
                if position == CONSTANTS
                else f"argument {position} (counted from 0 after `params`)"
            )
            raise ValueError(
                f"`frozen_feedback` names {what}, and no signal passes back through a "
                "weight in it that all examples share (None in `batch_axes`). Such "
                f"weights are: {listed}."
            )
    return tuple(chosen)


def beside_params(
    circuit: Circuit, params: Any, args: tuple[Any, ...], paths: Sequence[str]
) -> WithFrozen:
    """The parameters, and the weights at these paths."""
    given, program = circuit.structure.args, circuit.structure.flow.program
    at = dict(zip(given.paths, given.treedef.flatten_up_to(args), strict=True))
    arrays = constant_arrays(program)
    for path in paths:
        if path not in at:
            first, *_ = arrays[_index(path)]
            at[path] = jnp.asarray(program.constants[first])
    return WithFrozen(params, {path: at[path] for path in paths})


_WIDENED: WeakKeyDictionary[Circuit, dict[tuple[str, ...], Circuit]] = (
    WeakKeyDictionary()
)


def with_frozen(
    circuit: Circuit, params: Any, args: tuple[Any, ...], paths: Sequence[str]
) -> Circuit:
    """The circuit of the same loss as a function of `beside_params(...)`.

    The weights at these paths are leaves like the parameters: they meet activities in
    synapses, and can have feedback weights. `args`, and the nodes, stay the same. Its
    `loss_fn` does not replace constants; `run` does.

    Args:
      circuit: of the loss function.
      params: the parameters.
      args: the arguments after them.
      paths: of the weights (`frozen_paths`).
    """
    known = _WIDENED.setdefault(circuit, {})
    key = tuple(paths)
    if key not in known:
        whole = beside_params(circuit, params, args, key)
        known[key] = trace_spec(
            _widened(circuit), circuit.spec, whole, args, _widening(circuit, key)
        )
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


def _widening(circuit: Circuit, paths: Sequence[str]) -> Widening:
    structure, retrace = circuit.structure, circuit.batch.retrace
    ours = set(structure.args.paths)
    constants = {f"frozen.{p}": _index(p) for p in paths if p not in ours}

    def at(whole: WithFrozen, args: Any) -> Batch:
        return retrace(whole.params, args)

    return Widening(structure, at, constants)


def _index(path: str) -> int:
    """The number of the array at `"constants.3"`."""
    return int(path.removeprefix(f"{CONSTANTS}."))
