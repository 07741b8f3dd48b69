"""Synapses that follow one another with no node between.

A rule that learns from what two nodes do cannot reach a synapse one end of which is
neither a node nor data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ._jaxpr import Literal
from ._places import makers

if TYPE_CHECKING:
    from ._circuit import Circuit


def chains(circuit: Circuit) -> tuple[str, ...]:
    """Where a synapse is entered by what another made, with no node between.

    Returns:
      A text for each: the parameters below, those above, and the line above.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"] @ w["b"]) @ w["c"]) ** 2)
      >>> w = {"a": jnp.eye(2), "b": jnp.eye(2), "c": jnp.eye(2)}
      >>> circuit = apical.trace(loss_fn, nodes="unit")(w, jnp.ones((3, 2)))
      >>> [found.split(" (")[0] for found in chains(circuit)]
      ["'a' and 'b'"]
    """
    flow, nodes = circuit._flow, set(circuit._numbers)
    weights = {id(m.op): m.leaves for m in circuit._live}
    found = {}
    for meeting in circuit._live:
        entering = [a for a in meeting.activities if not isinstance(a, Literal)]
        for atom in (a for a in entering if a not in nodes):
            below, _, _ = makers(flow, atom, nodes, weights)
            if below:
                pair = _paths(circuit, below), _paths(circuit, meeting.leaves)
                text = f"{pair[0]!r} and {pair[1]!r} ({meeting.op.where})"
                found[text] = None
    return tuple(found)


def _paths(circuit: Circuit, leaves: Iterable[int]) -> str:
    return " + ".join(circuit.leaves.names[i] for i in sorted(leaves))
