"""Gated recurrent unit (GRU) for characters and sequences, with an output at each step.

    r, u = sigmoid(.)                   of W x[t] + U h[t-1] + b
    g = tanh(W x[t] + b + r (U h[t-1] + d))
    h[t] = u h[t-1] + (1 - u) g                         logits[t] = V h[t] + c

`x[t]` holds the channels of a step, or the character in one-hot form. The reset gate r
scales the recurrent drive of each unit, not the state before its weights: so each unit
depends on the others through products with weights alone.

Source: Cho et al. 2014, arXiv:1406.1078; the place of r as in cuDNN.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from apical.lab.models._layers import in_time_order, incoming_width, on_last_axis
from apical.lab.models._model import Model

_WIDTH = 80  # about as many parameters as the rnn has


class GRU(eqx.Module):
    """One layer of gated units, and a linear readout."""

    incoming: eqx.nn.Linear
    recurrent: eqx.nn.Linear
    bias: Array
    readout: eqx.nn.Linear

    def __init__(self, n_in: int, width: int, outputs: int, key: Array):
        first, second, third = jax.random.split(key, 3)
        self.incoming = eqx.nn.Linear(n_in, 3 * width, key=first)
        self.recurrent = eqx.nn.Linear(width, 3 * width, use_bias=False, key=second)
        self.bias = jnp.zeros(width)  # d
        self.readout = eqx.nn.Linear(width, outputs, key=third)

    def __call__(self, x: Array) -> Array:
        """Outputs `(examples, time, outputs)` of characters or sequences."""

        def step(h: Array, incoming: Array) -> tuple[Array, Array]:
            drives = jnp.split(incoming, 3, axis=-1)
            r, u, g = jnp.split(on_last_axis(self.recurrent, h), 3, axis=-1)
            r, u = (jax.nn.sigmoid(a + b) for a, b in zip(drives, (r, u), strict=False))
            g = jnp.tanh(drives[2] + r * (g + self.bias))
            h = u * h + (1 - u) * g
            return h, h

        steps = in_time_order(x, self.incoming.weight.shape[1])
        start = jnp.zeros((len(x), self.recurrent.weight.shape[1]))
        # All times at once outside the loop: one large product, not many small ones.
        _, h = jax.lax.scan(step, start, on_last_axis(self.incoming, steps))
        return on_last_axis(self.readout, h).swapaxes(0, 1)


def _build(key: Array, shape: tuple[int, ...], classes: int) -> GRU:
    return GRU(incoming_width(shape, classes), _WIDTH, classes, key)


MODEL = Model(_build, reads=("characters", "sequences"), steps_per_call=16)
