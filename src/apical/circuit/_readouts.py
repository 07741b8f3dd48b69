"""Read-outs: the synapses and parameters after the last values that enter a synapse.

Their gradient is local: it needs the loss, and what the last synapses read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from ._analysis._nodes import LOSS_NUMBER, Reachability
from ._circuit import Circuit
from ._evaluate._control_flow import ENTER
from ._evaluate._interpreter import Plan, Runner
from ._evaluate._taps import TAPS
from ._marks import INTERNAL


class Readouts(NamedTuple):
    """The read-outs of a circuit.

    Attributes:
      synapses: the synapses from which the loss is reached and no other synapse, by
        their positions among `circuit.synapses`.
      leaves: the learned leaves from which the loss is reached without passing a value
        that enters a synapse, by their positions among the learned leaves.
    """

    synapses: tuple[int, ...]
    leaves: tuple[int, ...]


def readouts(circuit: Circuit) -> Readouts:
    """The synapses and parameters that read out the network, whatever `nodes=` is.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> from apical.circuit import readouts
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"] + w["b"]) @ w["c"]) ** 2)
      >>> w = {"a": jnp.eye(2), "b": jnp.ones(2), "c": jnp.eye(2)}
      >>> readouts(apical.trace(loss_fn)(w, jnp.ones((3, 2))))
      Readouts(synapses=(1,), leaves=(2,))
    """
    structure = circuit.structure
    reach = Reachability(
        structure.flow,
        structure.entries,
        structure.reachability.stochastic,
        complete=False,
    ).of_value
    count = len(circuit.leaves.learned)
    given = structure.flow.program.body.inputs[:count]
    reached = [{n for n, _ in reach[m.op.outputs[0]]} for m in structure.live_ops]
    return Readouts(
        tuple(i for i, found in enumerate(reached) if found == {LOSS_NUMBER}),
        tuple(
            i for i, n in enumerate(given) if any(t == LOSS_NUMBER for t, _ in reach[n])
        ),
    )


def readout_gradient(circuit: Circuit, params: Any, args: tuple[Any, ...]) -> Any:
    """The gradient of the loss with every value that enters a synapse held.

    Returns:
      The pytree of the parameters: that of the read-outs, zeros for all others, None
      where a leaf is not learned.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> from apical.circuit import readout_gradient
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["c"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "c": jnp.eye(2)}, jnp.ones((3, 2))
      >>> found = readout_gradient(apical.trace(loss_fn)(w, x), w, (x,))
      >>> bool(jnp.allclose(found["c"], jax.grad(loss_fn)(w, x)["c"])), float(
      ...     jnp.max(jnp.abs(found["a"])))
      (True, 0.0)
    """
    plan = Plan({n: [f"{INTERNAL}entry {n}"] for n in circuit.structure.entries})
    learned, fixed = circuit.leaves.split(params)

    def loss(learned: Any) -> jax.Array:
        here = circuit.leaves.combine(learned, fixed)
        runner = Runner(circuit.structure.flow, plan, ENTER, TAPS["stop"], {}, None)
        (value, *_), _ = runner(circuit.inputs(here, args), [])
        return value

    return circuit.leaves.combine(jax.grad(loss)(learned))
