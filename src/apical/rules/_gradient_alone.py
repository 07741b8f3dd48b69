"""The gradient of the loss, for rules on a loss function without any hidden layer.

Where no activity enters a synapse no teaching signal is sent, so every parameter takes
the derivative of the loss itself: in a penalty, a partition function, or a model of one
layer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from ..circuit import Circuit


class Gradient(NamedTuple):
    """The loss, what the loss function returned beside it, and the gradients."""

    value: jax.Array
    aux: Any
    grads: list[jax.Array]


def gradient_alone(circuit: Circuit, params: Any, args: Any) -> Gradient:
    """The gradients of the learned leaves; the circuit has no node."""
    learned, fixed = circuit.leaves.split(params)

    def loss(learned: Any) -> Any:
        run = circuit.run(circuit.leaves.combine(learned, fixed), args, sites=())
        return run.loss, run.aux

    (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(learned)
    return Gradient(value, aux, grads)
