"""Recurrent network (RNN) for characters and sequences, with an output at each step.

    h[t] = tanh(W x[t] + U h[t-1] + b)        logits[t] = V h[t] + c

`x[t]` holds the channels of a step, or the character in one-hot form.

Source: Elman 1990.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from apical.lab.models._layers import in_time_order, incoming_width, on_last_axis
from apical.lab.models._model import Model

_WIDTH = 128


class RNN(eqx.Module):
    """One layer of recurrent tanh units, and a linear readout."""

    incoming: eqx.nn.Linear
    recurrent: eqx.nn.Linear
    readout: eqx.nn.Linear

    def __init__(self, n_in: int, width: int, outputs: int, key: Array):
        first, second, third = jax.random.split(key, 3)
        self.incoming = eqx.nn.Linear(n_in, width, key=first)
        self.recurrent = eqx.nn.Linear(width, width, use_bias=False, key=second)
        self.readout = eqx.nn.Linear(width, outputs, key=third)

    def __call__(self, x: Array) -> Array:
        """Outputs `(examples, time, outputs)` of characters or sequences."""

        def step(h: Array, incoming: Array) -> tuple[Array, Array]:
            h = jnp.tanh(incoming + on_last_axis(self.recurrent, h))
            return h, h

        steps = in_time_order(x, self.incoming.weight.shape[1])
        start = jnp.zeros((len(x), self.recurrent.weight.shape[1]))
        # All times at once outside the loop: one large product, not many small ones.
        _, h = jax.lax.scan(step, start, on_last_axis(self.incoming, steps))
        return on_last_axis(self.readout, h).swapaxes(0, 1)


def _build(key: Array, shape: tuple[int, ...], classes: int) -> RNN:
    return RNN(incoming_width(shape, classes), _WIDTH, classes, key)


MODEL = Model(_build, reads=("characters", "sequences"), steps_per_call=16)
