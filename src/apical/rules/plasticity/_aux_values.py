"""Values in what the loss function returns beside the loss: rewards, and the carry."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ...circuit import Circuit


def value_at(aux: Any, path: Any, what: str) -> Any:
    """The value in `aux` at a key, position or attribute, or a tuple of them.

    Raises:
      ValueError: if it is not there.

    Example:
      >>> value_at({"a": [1, 2]}, ("a", 1), "The reward")
      2
    """
    for key in path if isinstance(path, tuple) else (path,):
        try:
            field = isinstance(key, str) and not isinstance(aux, dict)
            aux = getattr(aux, key) if field and hasattr(aux, key) else aux[key]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(
                f"{what} is looked for in `aux` at {key!r}, and is not there: "
                f"{jax.tree.map(jnp.shape, aux)}."
            ) from error
    return aux


def require_carry(circuit: Circuit, args: Any, aux: Any, rule: str) -> None:
    """Require that a call can start from what the call before ended with.

    Args:
      circuit: with a `carry` in its description.
      args: the arguments after the parameters.
      aux: what the loss function returns beside the loss, or its shapes.
      rule: who asks, for messages.

    Raises:
      ValueError: without `has_aux`, for a position or a path that does not exist, and
        where the two differ in structure or shape.
    """
    assert circuit.spec.carry is not None
    position, path = circuit.spec.carry
    if not circuit.spec.has_aux:
        raise ValueError(
            f"{rule} follows a sequence from call to call with `carry=`: let `loss_fn` "
            "return `(loss, aux)` with its last state in `aux`, and pass "
            "`has_aux=True`."
        )
    if position >= len(args):
        raise ValueError(
            f"`carry` names argument {position}, and there are {len(args)} after "
            "`params`: the first of them is 0."
        )
    ended = value_at(aux, path, "The carry")
    starts, ends = (jax.tree.map(jnp.shape, x) for x in (args[position], ended))
    if starts != ends:
        raise ValueError(
            f"A call starts from {starts} (argument {position} after `params`) and "
            f"ends with {ends} (in `aux` at {path!r}): the next one could not start "
            "from that. Let both have one structure and shape."
        )
