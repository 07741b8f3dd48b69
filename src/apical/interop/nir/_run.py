"""Running a list of layers over spikes in JAX, step by step in one `lax.scan`.

    x_0 = input,    x_i = layer_i(x_{i-1})    within one time step

A spike passes through all layers in the step in which it is fired; only `Recurrent`
and `Delay` look back. norse and snntorch do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...spiking import SpikeFunction, fast_sigmoid
from ._discrete_time import check_dt, check_method
from ._layer import Layer, Shape, Simulation, check_arrays, name_of

DEFAULT_SPIKE = fast_sigmoid()


def layer_shapes(layers: Sequence[Layer], input_shape: Any = None) -> list[Shape]:
    """The shape of the input and of each layer's output, without the batch.

    Args:
      layers: the network, from input to output.
      input_shape: the shape of one example, where the first layer does not tell it.

    Raises:
      TypeError: where something in the list is no layer, or a field no array.
      ValueError: where a field does not fit, naming the layer and the field.
    """
    if isinstance(layers, Layer):
        raise TypeError(f"layers is one {name_of(layers)}; give a list: [layer].")
    layers = list(layers)
    if not layers:
        raise ValueError("layers is empty; give at least one layer.")
    for i, each in enumerate(layers):
        if not isinstance(each, Layer):
            raise TypeError(
                f"layers[{i}] is a {name_of(each)}, not a layer of apical.interop.nir. "
                "A node of the package nir is turned into one by from_graph."
            )
    shape = layers[0].input_shape() if input_shape is None else input_shape
    if shape is None:
        raise ValueError(
            f"layers[0], a {name_of(layers[0])}, does not tell the shape of its input: "
            "give input_shape=, without the batch."
        )
    shapes = [tuple(map(int, np.atleast_1d(shape)))]
    for i, each in enumerate(layers):
        check_arrays(each, f"layers[{i}]")
        shapes.append(each.output_shape(shapes[-1], f"layers[{i}]"))
    return shapes


def init_state(
    layers: Sequence[Layer],
    batch_size: int,
    *,
    dt: float,
    input_shape: Any = None,
    dtype: Any = jnp.float32,
) -> list[Any]:
    """What the layers remember before the first step.

    Potentials start at `v_leak`, currents and what returns in a loop at 0.

    Args:
      layers: the network, from input to output.
      batch_size: the number of examples.
      dt: the time step in seconds, which delays are counted in.
      input_shape: the shape of one example, where the first layer does not tell it.
      dtype: the precision of the simulation.

    Returns:
      One state for each layer.

    Raises:
      TypeError: where something in the list is no layer.
      ValueError: where a field does not fit, naming the layer and the field.

    Example:
      >>> from apical.interop import nir
      >>> state, = nir.init_state([nir.LIF(tau=20e-3)], 2, dt=1e-3, input_shape=3)
      >>> state.shape
      (2, 3)
    """
    check_dt(dt)
    shapes = layer_shapes(layers, input_shape)
    return [
        each.initial_state(shape, batch_size, dtype, dt)
        for each, shape in zip(layers, shapes, strict=False)
    ]


def step(
    layers: Sequence[Layer],
    state: list[Any],
    x: Any,
    *,
    dt: float,
    method: str = "euler",
    spike: SpikeFunction = DEFAULT_SPIKE,
    detach_reset: bool = True,
) -> tuple[list[Any], jax.Array]:
    """One time step of all layers, for a loop of one's own.

    Args:
      layers: the network, from input to output.
      state: what `init_state` or the step before returned.
      x: the input, of shape (batch, *shape).
      dt: as in `run`, like the rest.
      method: the discretisation.
      spike: from the potential minus the threshold to spikes.
      detach_reset: whether the derivative of the reset by the spike counts as 0.

    Returns:
      The new state and the output of the last layer.

    Raises:
      ValueError: where the input does not fit, naming the layer and the field.

    Example:
      >>> import jax.numpy as jnp
      >>> from apical.interop import nir
      >>> layers = [nir.LIF(tau=4e-3)]  # a quarter of the way in each step of 1 ms
      >>> state = nir.init_state(layers, 1, dt=1e-3, input_shape=1)
      >>> for _ in range(2):
      ...     state, z = nir.step(layers, state, jnp.full((1, 1), 3.0), dt=1e-3)
      ...     print(z.item(), state[0].item())
      0.0 0.75
      1.0 0.0
    """
    check_dt(dt)
    check_method(method)
    x = _floating(x)
    layer_shapes(layers, x.shape[1:])
    if len(state) != len(layers):
        raise ValueError(
            f"state has {len(state)} entries, and there are {len(layers)} layers; take "
            "it from init_state."
        )
    simulation = Simulation(dt, method, spike, detach_reset)
    new = []
    for each, own in zip(layers, state, strict=True):
        own, x = each.step(own, x, simulation)
        new.append(own)
    return new, x


def run(
    layers: Sequence[Layer],
    inputs: Any,
    *,
    dt: float,
    method: str = "euler",
    spike: SpikeFunction = DEFAULT_SPIKE,
    detach_reset: bool = True,
    state: list[Any] | None = None,
) -> tuple[list[Any], jax.Array]:
    """Run the layers over a sequence, by `lax.scan`.

    The layers are a pytree: jit, grad and the rules of apical take them as parameters.

    Args:
      layers: the network, from input to output.
      inputs: spikes or currents of shape (time, batch, *shape). Whole numbers and
        booleans are read as float32.
      dt: the time step, in seconds.
      method: `"euler"`, k = dt / tau, as norse and snntorch; or `"exact"`,
        k = 1 - exp(-dt / tau), exact for an input that is constant over a step.
      spike: from the potential minus the threshold to spikes, such as
        `apical.spiking.fast_sigmoid(slope)`: its surrogate is what layers learn by.
      detach_reset: whether the derivative of the reset by the spike counts as 0.
      state: what an earlier window returned; by default `init_state`.

    Returns:
      The state after the last step, and the outputs of the last layer, of shape (time,
      batch, *shape).

    Raises:
      TypeError: where something in the list is no layer.
      ValueError: where a field or the input does not fit, naming the layer and the
        field; where a time constant is shorter than dt with Euler's method.

    Example:
      >>> import jax.numpy as jnp
      >>> from apical.interop import nir
      >>> layers = [nir.Linear(jnp.eye(2)), nir.LIF(tau=20e-3, r=20.0)]
      >>> _, spikes = nir.run(layers, 0.3 * jnp.ones((10, 1, 2)), dt=1e-3)
      >>> spikes[:, 0, 0].astype(int).tolist()
      [0, 0, 0, 1, 0, 0, 0, 1, 0, 0]
    """
    check_dt(dt)
    inputs = _floating(inputs)
    if inputs.ndim < 3:
        raise ValueError(
            f"inputs has the shape {inputs.shape}; it must be (time, batch, *shape)."
        )
    if state is None:
        batch, shape = inputs.shape[1], inputs.shape[2:]
        state = init_state(layers, batch, dt=dt, input_shape=shape, dtype=inputs.dtype)

    def body(carry: list[Any], x: jax.Array) -> tuple[list[Any], jax.Array]:
        return step(
            *(layers, carry, x),
            **{"dt": dt, "method": method},
            **{"spike": spike, "detach_reset": detach_reset},
        )

    return jax.lax.scan(body, state, inputs)


def _floating(x: Any) -> jax.Array:
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)
