"""A recurrent layer of current-based spiking neurons under a leaky read-out."""

from __future__ import annotations

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from apical import spiking

STEP = 1e-3  # seconds
SYNAPTIC = spiking.decay_factor(5e-3, STEP)
MEMBRANE = spiking.decay_factor(10e-3, STEP)
INPUT_SCALE, RECURRENT_SCALE = 2.0, 0.3


class RecurrentSpikingNet(eqx.Module):
    """Input units fire once each, at the step that an example holds for them.

    Attributes:
        encoding: from the inputs to the hidden layer.
        recurrent: within the hidden layer.
        readout: from the hidden layer to the leaky units that are read.
        spike: with the surrogate derivative.
        steps: of the window.
    """

    encoding: Array
    recurrent: Array
    readout: Array
    spike: spiking.SpikeFunction = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        """The highest potential of each read-out, for `x` of `(examples, units)`."""
        now = jnp.arange(self.steps, dtype=x.dtype)[:, None, None]
        currents = (x == now).astype(x.dtype) @ self.encoding

        def step(
            state: spiking.CubaLIFState, current: Array
        ) -> tuple[spiking.CubaLIFState, Array]:
            return spiking.cuba_lif(
                state,
                current + state.spikes @ self.recurrent,
                synaptic_decay=SYNAPTIC,
                decay=MEMBRANE,
                reset="zero",
                spike=self.spike,
            )

        width = len(self.recurrent)
        initial = spiking.CubaLIFState.initial((len(x), width), x.dtype)
        _, spikes = jax.lax.scan(step, initial, currents)
        return self._highest_potential(spikes @ self.readout)

    def _highest_potential(self, currents: Array) -> Array:
        def step(state: tuple[Array, Array], current: Array) -> tuple:
            filtered = SYNAPTIC * state[0] + current
            potential = MEMBRANE * state[1] + filtered
            return (filtered, potential), potential

        zeros = jnp.zeros_like(currents[0])
        return jax.lax.scan(step, (zeros, zeros), currents)[1].max(axis=0)


def recurrent_spiking_net(
    spike: spiking.SpikeFunction, width: int, steps: int
) -> Callable[..., RecurrentSpikingNet]:
    """A builder of a network with this surrogate derivative."""

    def build(key: Array, shape: tuple[int, ...], classes: int) -> RecurrentSpikingNet:
        (units,) = shape
        keys = jax.random.split(key, 3)

        def drawn(key: Array, scale: float, ends: tuple[int, int]) -> Array:
            return scale / math.sqrt(ends[0]) * jax.random.normal(key, ends)

        return RecurrentSpikingNet(
            drawn(keys[0], INPUT_SCALE, (units, width)),
            drawn(keys[1], RECURRENT_SCALE, (width, width)),
            drawn(keys[2], 1.0, (width, classes)),
            spike,
            steps,
        )

    return build
