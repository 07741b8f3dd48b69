"""Neurons whose spikes return to them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ._layer import Layer, Shape, Simulation, check_arrays, layer, name_of
from ._neurons import Neurons
from ._weights import Weights


@layer
class Recurrent(Layer):
    """Neurons that get their own output of the step before, through weights.

        y_t = neurons(x_t + synapses(y_{t-1})),    y_0 = 0

    An edge of NIR takes no time. A loop needs some: here, in norse and in snntorch it
    is one time step.

    Args:
      neurons: a layer of neurons, as `LIF`.
      synapses: `Linear`, `Affine`, `Scale` or a convolution that keeps the shape.

    Example:
      >>> import numpy as np
      >>> from apical.interop import nir
      >>> layer = nir.Recurrent(nir.LIF(tau=20e-3), nir.Linear(np.zeros((3, 3))))
      >>> layer.input_shape()
      (3,)
    """

    neurons: Any
    synapses: Any

    def input_shape(self) -> Shape | None:
        """The shape of the neurons."""
        return self.synapses.input_shape() or self.neurons.input_shape()

    def output_shape(self, shape: Shape, where: str) -> Shape:
        """The shape of the neurons."""
        for part, kind, several in (
            ("neurons", Neurons, "neurons"),
            ("synapses", Weights, "weights"),
        ):
            given = getattr(self, part)
            if not isinstance(given, kind):
                raise TypeError(
                    f"{where}: Recurrent.{part} is a {name_of(given)}; it must be a "
                    f"layer of {several}."
                )
            check_arrays(given, f"{where}: Recurrent.{part}")
        out = self.neurons.output_shape(shape, f"{where}: Recurrent.neurons")
        back = self.synapses.output_shape(out, f"{where}: Recurrent.synapses")
        if back != shape:
            raise ValueError(
                f"{where}: Recurrent.synapses has an output of shape {back}, and its "
                f"neurons have {shape}."
            )
        return out

    def initial_state(self, shape: Shape, batch: int, dtype: Any, dt: float) -> Any:
        """The neurons' state, and an output of 0."""
        state = self.neurons.initial_state(shape, batch, dtype, dt)
        return state, jnp.zeros((batch, *shape), dtype)

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Add what returns to the input, and step the neurons."""
        inner, before = state
        _, returned = self.synapses.step((), before, simulation)
        inner, y = self.neurons.step(inner, x + returned, simulation)
        return (inner, y), y
