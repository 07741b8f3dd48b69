"""Which weights a signal on its way down passes: those that an activity enters."""

from __future__ import annotations

from ._circuit import Circuit


def inner_leaves(circuit: Circuit) -> tuple[int, ...]:
    """The learned leaves, by position, of synapses that an activity enters.

    The others meet data alone: nothing is sent back through them.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 1))}
      >>> inner_leaves(apical.trace(loss_fn)(w, jnp.ones((3, 2))))  # not `a`
      (1,)
    """
    flow, found = circuit._flow, set[int]()
    for meeting in circuit._live:
        if any(flow.is_activity(a) for a in meeting.activities):
            found |= meeting.leaves
    return tuple(sorted(found))
