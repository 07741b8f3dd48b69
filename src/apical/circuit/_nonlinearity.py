"""The nonlinearity of a unit as a function by itself: the program from z to rho(z)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from ._circuit import Circuit
from ._dataflow import Flow
from ._graph import bound
from ._jaxpr import Atom, Literal


def nonlinearity(
    circuit: Circuit, params: Any, args: tuple[Any, ...], name: str
) -> Callable[[jax.Array], jax.Array]:
    """The nonlinearity rho of a unit: its value at any drive, in one step of a loop.

    Args:
      circuit: of the loss function.
      params: the parameters.
      args: the arguments after them.
      name: of a node that has a drive.

    Returns:
      A function from an array of the node's shape, without the lengths of the loops
      around it, to another.

    Raises:
      ValueError: where the node has no drive; when called, where the nonlinearity is
        another one at every step of a loop.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.eye(2)}, jnp.ones((1, 2))
      >>> rho = nonlinearity(apical.trace(loss_fn)(w, x), w, (x,), "a")
      >>> bool(jnp.allclose(rho(3 * x), jnp.tanh(3 * x)))
      True
    """
    node = next(n for n, label in circuit._names.items() if label == name)
    flow, drive = circuit._flow, circuit._drive(node)
    program = flow.program
    inputs = zip(program.body.inputs, circuit.inputs(params, args), strict=True)
    given = {**program.constants, **dict(inputs)}

    def rho(z: jax.Array) -> jax.Array:
        made: dict[int, Any] = {drive: z}

        def read(atom: Atom) -> Any:
            if isinstance(atom, Literal):
                return atom.value
            if atom in made or atom in given:
                return made[atom] if atom in made else given[atom]
            if atom in flow.entry:
                return read(_outside(flow, atom))
            op = flow.maker[atom][0]
            made.update(zip(op.outputs, op(*map(read, op.inputs)), strict=True))
            return made[atom]

        return read(node)

    return rho


def _outside(flow: Flow, number: int) -> Atom:
    """What a constant inside a loop or a branch is bound to."""
    op, body, i = flow.entry[number]
    if op.loop is not None and i >= op.loop.consts:
        raise ValueError(
            f"The nonlinearity in the loop at {op.where} is another one at every step: "
            "it reads a constant that the loop runs over. Pass that as an argument."
        )
    return bound(op, body, i)[0]
