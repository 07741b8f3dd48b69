"""How far each node is from the loss, in nodes."""

from __future__ import annotations

from functools import cache

from ...circuit import LOSS, Circuit


def levels(circuit: Circuit) -> dict[str, int]:
    """The largest number of nodes on a path from a node to the loss, itself included.

    Paths through the carry of a loop are left out: a node in a loop stands for all its
    steps.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 1))}
      >>> levels(apical.trace(loss_fn)(w, jnp.ones((3, 2))))
      {'a': 1}
    """
    reach = circuit.reach

    @cache
    def level(name: str) -> int:
        after = [to for to, later in reach[name] if not later and to is not LOSS]
        return 1 + max(map(level, after), default=0)

    # From the loss back, so that the recursion never goes deep.
    return {n.name: level(n.name) for n in reversed(circuit.nodes)}
