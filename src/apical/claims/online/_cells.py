"""Recurrent cells with every product inside the loop, and their error at each step.

A product over all times before the loop would keep its result for the whole sequence,
and could not be called for windows of it.

    h[t] = cell(h[t-1], W x[t] + U read(h[t-1])),     loss = mean over t of error[t]

`read` is the identity; or it stops the derivative, and then backpropagation through
time gives the gradient that defines e-prop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from apical import spiking

DECAY = math.exp(-1 / 20)  # of potentials
KEPT = math.exp(-1 / 200)  # of adaptation
RATE = 1 / 20  # spikes per step that double an adaptive threshold
_SPIKE = spiking.triangle(height=0.3)
_GAIN = 0.3  # of recurrent weights: at 1 spikes would keep themselves going
Params = dict[str, Array]
Read = Callable[[Any], Any]


def recurrence_intact(state: Any) -> Any:
    """What recurrent synapses read: the state itself."""
    return state


class Cell(NamedTuple):
    """A recurrent cell.

    Attributes:
        gates: how many products of the input there are.
        initial: makes the state of `(examples, units)`.
        step: `(params, state, x, read)` to the new state and the activity.
        gain: of the recurrent weights.
    """

    gates: int
    initial: Callable[[tuple[int, int]], Any]
    step: Callable[[Params, Any, Array, Read], tuple[Any, Array]]
    gain: float


def _lif(params: Params, state: Any, x: Array, read: Read) -> tuple[Any, Array]:
    current = x @ params["incoming"] + read(state.spikes) @ params["recurrent"]
    return spiking.lif(state, current, decay=DECAY, spike=_SPIKE)


def _alif(params: Params, state: Any, x: Array, read: Read) -> tuple[Any, Array]:
    current = x @ params["incoming"] + read(state.spikes) @ params["recurrent"]
    return spiking.alif(
        state,
        current,
        decay=DECAY,
        adaptation_decay=KEPT,
        adaptation_strength=(1 - KEPT) / RATE,
        spike=_SPIKE,
    )


def _gru(params: Params, h: Array, x: Array, read: Read) -> tuple[Array, Array]:
    from_input = jnp.split(x @ params["incoming"], 3, axis=-1)
    from_past = jnp.split(read(h) @ params["recurrent"], 3, axis=-1)
    reset, update = (
        jax.nn.sigmoid(a + b)
        for a, b in zip(from_input[:2], from_past[:2], strict=True)
    )
    new = jnp.tanh(from_input[2] + reset * from_past[2])
    h = (1 - update) * new + update * h
    return h, h


CELLS = {
    "LIF": Cell(1, spiking.LIFState.initial, _lif, _GAIN),
    "ALIF": Cell(1, spiking.ALIFState.initial, _alif, _GAIN),
    "GRU": Cell(3, jnp.zeros, _gru, 1.0),
}


class Size(NamedTuple):
    """Channels, units and outputs of a network, and the examples of a batch."""

    channels: int
    units: int
    outputs: int
    examples: int


class RecurrentNet(NamedTuple):
    """A cell under a read-out at each step.

    Attributes:
        cell: the recurrent units.
        read: what recurrent synapses read of the state.
    """

    cell: Cell
    read: Read = recurrence_intact

    def params(self, key: Array, size: Size) -> Params:
        """Normal weights with variance 1 / fan-in."""
        ends = {
            "incoming": (size.channels, self.cell.gates * size.units),
            "recurrent": (size.units, self.cell.gates * size.units),
            "readout": (size.units, size.outputs),
        }
        gains = {"incoming": 1.0, "recurrent": self.cell.gain, "readout": 1.0}
        return {
            name: gains[name] / math.sqrt(fans[0]) * jax.random.normal(k, fans)
            for k, (name, fans) in zip(
                jax.random.split(key, 3), ends.items(), strict=True
            )
        }

    def start(self, size: Size) -> Any:
        """The state before the first step."""
        return self.cell.initial((size.examples, size.units))

    def window(
        self, params: Params, start: Any, x: Array, y: Array
    ) -> tuple[Array, dict[str, Any]]:
        """The error of a window, the mean over steps and examples, and its last state.

        Args:
            params: the weights.
            start: the state before the window.
            x: inputs `(time, examples, channels)`.
            y: targets `(time, examples, outputs)`.
        """
        end, errors = jax.lax.scan(partial(self._step, params), start, (x, y))
        return jnp.mean(errors), {"end": end}

    def in_parts(
        self, params: Params, start: Any, x: Array, y: Array, parts: int
    ) -> Array:
        """The same error; its parts are evaluated again in the backward pass."""

        @jax.checkpoint
        def part(state: Any, xy: Any) -> tuple[Any, Array]:
            return jax.lax.scan(partial(self._step, params), state, xy)

        xy = tuple(a.reshape(parts, -1, *a.shape[1:]) for a in (x, y))
        return jnp.mean(jax.lax.scan(part, start, xy)[1])

    def _step(self, params: Params, state: Any, xy: Any) -> tuple[Any, Array]:
        x, y = xy
        state, h = self.cell.step(params, state, x, self.read)
        return state, 0.5 * jnp.sum((h @ params["readout"] - y) ** 2, axis=-1)
