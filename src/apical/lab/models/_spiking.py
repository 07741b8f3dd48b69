"""Recurrent spiking network (LIF, ALIF) with a leaky readout at each step.

    v[t] = alpha v[t-1] + W x[t] + U s[t-1] - s[t-1]             the last is the reset
    a[t] = rho a[t-1] + s[t-1]                                   adaptation
    s[t] = 1 if v[t] > 1 + beta a[t] else 0
    y[t] = kappa y[t-1] + (1 - kappa) V s[t]                     logits[t] = y[t] + c

`x[t]` holds the channels of a step. In `lif` beta is 0. In `alif` it is 0 for one half
of the units; for the other half it is such that a lasting rate of one spike in 20 steps
doubles the threshold. There rho = exp(-1 / T) for sequences of T steps, so that
thresholds remember about as long as a sequence lasts. alpha = kappa = exp(-1 / 20). The
derivative of a spike is the triangle 0.3 max(0, 1 - |v - threshold|), also in the
reset: where gradients do not pass through the reset, they grow over 100 steps until
nothing is learned. Decays and betas are not learned.

Source: Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020, Nature
Communications 11:3625.
"""

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
from apical.lab.models._model import Model

_WIDTH = 100
_DECAY = math.exp(-1 / 20)  # of potentials and of the readout
_RATE = 1 / 20  # spikes per step that double an adaptive threshold
_RECURRENT_GAIN = 0.3  # at 1 a network without input would keep itself active
_SPIKE = spiking.triangle(height=0.3)


class Spiking(eqx.Module):
    """One layer of spiking units, and a leaky readout.

    Args:
        n_in: channels of the input.
        width: units.
        outputs: outputs of the readout.
        key: of the weights: normal, with variance 1 / fan-in, recurrent ones smaller.
        adaptive: how many units have an adaptive threshold, the last ones.
        memory: time constant of adaptation, in steps.
    """

    incoming: Array
    recurrent: Array
    readout: Array
    bias: Array
    adaptive: int = eqx.field(static=True)
    memory: float = eqx.field(static=True)

    def __init__(
        self,
        n_in: int,
        width: int,
        outputs: int,
        key: Array,
        adaptive: int = 0,
        memory: float = 1.0,
    ):
        first, second, third = jax.random.split(key, 3)
        self.incoming = jax.random.normal(first, (n_in, width)) / math.sqrt(n_in)
        gain = _RECURRENT_GAIN / math.sqrt(width)
        self.recurrent = gain * jax.random.normal(second, (width, width))
        self.readout = jax.random.normal(third, (width, outputs)) / math.sqrt(width)
        self.bias = jnp.zeros(outputs)
        self.adaptive, self.memory = adaptive, memory

    def __call__(self, x: Array) -> Array:
        """Outputs `(examples, time, outputs)` of sequences `(examples, time, n_in)`."""
        return self.run(x)[0]

    def run(self, x: Array) -> tuple[Array, Array]:
        """Outputs, and spikes `(examples, time, units)`."""
        width = len(self.recurrent)
        neurons, initial = self._neurons((len(x), width))
        silent = jnp.zeros((len(x), len(self.bias)))

        def step(carry: tuple, current: Array) -> tuple[tuple, tuple[Array, Array]]:
            state, y = carry
            state, spikes = neurons(state, current + state.spikes @ self.recurrent)
            current = (1 - _DECAY) * (spikes @ self.readout)
            y, output = spiking.leaky(y, current, decay=_DECAY)
            return (state, y), (output, spikes)

        # All times at once outside the loop: one large product, not many small ones.
        currents = x.swapaxes(0, 1) @ self.incoming
        _, found = jax.lax.scan(step, (initial, silent), currents)
        outputs, spikes = (of_steps.swapaxes(0, 1) for of_steps in found)
        return outputs + self.bias, spikes

    def _neurons(self, shape: tuple[int, int]) -> tuple[Callable, Any]:
        """A step of the units, and their initial state."""
        if not self.adaptive:
            step = partial(spiking.lif, decay=_DECAY, detach_reset=False, spike=_SPIKE)
            return step, spiking.LIFState.initial(shape)
        kept = math.exp(-1 / self.memory)
        # At a lasting rate r adaptation is r / (1 - kept).
        strength = np.zeros(shape[1], np.float32)
        strength[-self.adaptive :] = (1 - kept) / _RATE
        step = partial(
            spiking.alif,
            decay=_DECAY,
            adaptation_decay=kept,
            adaptation_strength=strength,
            detach_reset=False,
            spike=_SPIKE,
        )
        return step, spiking.ALIFState.initial(shape)


def _lif(key: Array, shape: tuple[int, ...], classes: int) -> Spiking:
    return Spiking(shape[1], _WIDTH, classes, key)


def _alif(key: Array, shape: tuple[int, ...], classes: int) -> Spiking:
    time, channels = shape
    return Spiking(channels, _WIDTH, classes, key, adaptive=_WIDTH // 2, memory=time)


LIF = Model(_lif, reads=("sequences",), steps_per_call=16)
ALIF = Model(_alif, reads=("sequences",), steps_per_call=16)
