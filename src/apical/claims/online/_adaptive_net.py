"""A recurrent network of spiking units, half of them adaptive, for `compare`.

    v[t] = alpha v[t-1] + W x[t] + U s[t-1] - s[t-1]
    a[t] = rho a[t-1] + s[t-1]
    s[t] = 1 if v[t] > 1 + beta a[t] else 0
    y[t] = kappa y[t-1] + (1 - kappa) V s[t],     logits[t] = y[t] + c

Every product is inside the loop. beta is 0 for one half of the units; for the other it
is such that a lasting rate of one spike in 20 steps doubles the threshold. alpha =
kappa = exp(-1/20), rho = exp(-1/T) for sequences of T steps.

Source: Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020, Nature
Communications 11:3625.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from apical import spiking
from apical.claims.online._cells import DECAY, RATE

# With larger numbers (0.3, 0.3) gradients grow with the steps that they pass.
_GAIN = 0.1  # of recurrent weights
_SPIKE = spiking.triangle(height=0.05)
WEIGHTS = ("incoming", "recurrent", "readout")


class AdaptiveNet(eqx.Module):
    """Spiking units under a leaky read-out.

    Attributes:
        incoming: W, `(channels, units)`.
        recurrent: U, `(units, units)`.
        readout: V, `(units, classes)`.
        bias: c, `(classes,)`.
        memory: time constant of adaptation, in steps.
        frozen: the names of weights that keep their initial values.
    """

    incoming: Array
    recurrent: Array
    readout: Array
    bias: Array
    memory: float = eqx.field(static=True)
    frozen: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        """Logits `(examples, time, classes)` of spikes `(examples, time, channels)`."""
        w, u, v = map(self._weight, WEIGHTS)
        shape = (len(x), len(u))
        neurons = self._neurons(len(u))

        def step(carry: Any, x: Array) -> tuple[Any, Array]:
            state, y = carry
            state, spikes = neurons(state, x @ w + state.spikes @ u)
            y, output = spiking.leaky(y, (1 - DECAY) * (spikes @ v), decay=DECAY)
            return (state, y), output

        start = spiking.ALIFState.initial(shape), jnp.zeros((len(x), v.shape[1]))
        _, outputs = jax.lax.scan(step, start, x.swapaxes(0, 1))
        return outputs.swapaxes(0, 1) + self.bias

    def _weight(self, name: str) -> Array:
        weight = getattr(self, name)
        return jax.lax.stop_gradient(weight) if name in self.frozen else weight

    def _neurons(self, units: int) -> Callable[..., Any]:
        kept = math.exp(-1 / self.memory)
        # At a lasting rate r adaptation is r / (1 - kept).
        strength = np.zeros(units, np.float32)
        strength[units // 2 :] = (1 - kept) / RATE
        return partial(
            spiking.alif,
            decay=DECAY,
            adaptation_decay=kept,
            adaptation_strength=strength,
            spike=_SPIKE,
        )


def adaptive_net(
    units: int, frozen: tuple[str, ...] = (), gain: float = 1.0
) -> Callable[..., AdaptiveNet]:
    """A builder of networks with weights of variance 1 / fan-in.

    Args:
        units: how many units.
        frozen: the names of weights that keep their initial values.
        gain: of the weights of the input: where few channels spike, units must too.
    """

    def build(key: Array, shape: tuple[int, int], classes: int) -> AdaptiveNet:
        time, channels = shape
        first, second, third = jax.random.split(key, 3)

        def drawn(key: Array, ends: tuple[int, int], gain: float = 1.0) -> Array:
            return gain / math.sqrt(ends[0]) * jax.random.normal(key, ends)

        return AdaptiveNet(
            drawn(first, (channels, units), gain),
            drawn(second, (units, units), _GAIN),
            drawn(third, (units, classes)),
            jnp.zeros(classes),
            memory=time,
            frozen=frozen,
        )

    return build
