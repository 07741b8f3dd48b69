"""LSTM for characters and sequences, with an output at each step.

    i, f, o = sigmoid(.), g = tanh(.)         of W x[t] + U h[t-1] + b
    c[t] = f c[t-1] + i g                     h[t] = o tanh(c[t])
    logits[t] = V h[t] + d

`x[t]` holds the channels of a step, or the character in one-hot form.

Source: Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000 (forget gate).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from apical.lab.models._layers import in_time_order, incoming_width, on_last_axis
from apical.lab.models._model import Model

_WIDTH = 64  # about as many parameters as the rnn has


class LSTM(eqx.Module):
    """One layer of memory cells, and a linear readout."""

    incoming: eqx.nn.Linear
    recurrent: eqx.nn.Linear
    readout: eqx.nn.Linear

    def __init__(self, n_in: int, width: int, outputs: int, key: Array):
        first, second, third = jax.random.split(key, 3)
        self.incoming = eqx.nn.Linear(n_in, 4 * width, key=first)
        self.recurrent = eqx.nn.Linear(width, 4 * width, use_bias=False, key=second)
        self.readout = eqx.nn.Linear(width, outputs, key=third)

    def __call__(self, x: Array) -> Array:
        """Outputs `(examples, time, outputs)` of characters or sequences."""

        def step(
            carry: tuple[Array, Array], incoming: Array
        ) -> tuple[tuple[Array, Array], Array]:
            h, c = carry
            drive = incoming + on_last_axis(self.recurrent, h)
            i, f, o, g = jnp.split(drive, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        steps = in_time_order(x, self.incoming.weight.shape[1])
        start = jnp.zeros((len(x), self.recurrent.weight.shape[1]))
        # All times at once outside the loop: one large product, not many small ones.
        _, h = jax.lax.scan(step, (start, start), on_last_axis(self.incoming, steps))
        return on_last_axis(self.readout, h).swapaxes(0, 1)


def _build(key: Array, shape: tuple[int, ...], classes: int) -> LSTM:
    return LSTM(incoming_width(shape, classes), _WIDTH, classes, key)


MODEL = Model(_build, reads=("characters", "sequences"), steps_per_call=16)
