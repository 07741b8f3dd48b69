"""Cotangents of synapses: the derivative of the loss by the output of each of them.

    e_i = d/d(y_i) [ loss * L + sum_n <delta_n, computed_n> ]       y_i = op_i(x_i, W_i)

through the whole network or, with the nodes held, through one layer only: then `delta`
are the teaching signals of any rule, and e_i is what they are at the synapse's output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from ._circuit import Circuit
from ._evaluate._sharding import inner, zeros
from ._evaluate._taps import TAPS
from ._marks import output_of


def synapse_cotangents(
    circuit: Circuit,
    params: Any,
    args: tuple[Any, ...],
    *,
    held: Mapping[str, Any] | None = None,
    delta: Mapping[str, Any] | None = None,
    loss: Any = 1.0,
    feedback: Any = None,
) -> tuple[jax.Array, ...]:
    """The derivative of the loss by the output of each synapse.

    Args:
      circuit: of the loss function.
      params: the parameters.
      args: the arguments after them.
      held: the value of each node that is held, by name: no derivative passes through
        it. None: of none, so that the derivatives are those of the whole network.
      delta: teaching signals by site, as of `circuit.pull`; None: none.
      loss: the weight of the loss.
      feedback: the parameters that the backward path uses, as of `circuit.run`.

    Returns:
      An array for each of `circuit.synapses`, of the shape of its output, the lengths
      of the loops around it in front (`SynapseActivity.output_in_steps` rearranges
      it). Its units are those of the loss: the share of an example in a mean.

    Raises:
      ValueError: for a site that does not exist, and for values that do not fit.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> from apical.circuit import synapse_cotangents
      >>> def loss_fn(w, x):
      ...     return jnp.sum(jnp.maximum(x @ w["a"], 0) @ w["b"]) / 3
      >>> w, x = {"a": jnp.ones((2, 1)), "b": jnp.full((1, 1), 6.0)}, jnp.ones((3, 2))
      >>> circuit = apical.trace(loss_fn)(w, x)
      >>> [found[0].tolist() for found in synapse_cotangents(circuit, w, (x,))]
      [[2.0], [0.3333333432674408]]
    """
    structure, delta = circuit.structure, {} if delta is None else dict(delta)
    outputs = [m.op.outputs[0] for m in structure.live_ops]
    sites = [output_of(i) for i in range(len(outputs))]
    shapes = map(structure.shape, outputs)
    still = {s: zeros(x) for s, x in zip(sites, shapes, strict=True)}
    values = {} if held is None else dict(held)

    def tap(site: str, computed: Any, injected: Any) -> Any:
        return TAPS["offset" if site in still else "clamp"](site, computed, injected)

    def total(offsets: dict[str, jax.Array]) -> jax.Array:
        run = circuit.run(
            params,
            args,
            tap=tap,
            inject={**values, **offsets},
            feedback=feedback,
            sites=list(delta),
        )
        products = (inner(d, run.sites[s]) for s, d in delta.items())
        return sum(products, start=loss * run.loss)

    found = jax.grad(total)(still)
    return tuple(found[s] for s in sites)
