"""Layers from decays per time step, and the same network with R = 1."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._discrete_time import tau_from_decay
from ._layer import Layer, name_of
from ._neurons import IF, LI, LIF, CubaLIF, I
from ._recurrent import Recurrent
from ._run import layer_shapes
from ._weights import Affine, Conv1d, Conv2d, Linear, Scale


def lif_from_decay(
    decay: Any,
    *,
    dt: float,
    threshold: Any = 1.0,
    reset: Any,
    scale_input: bool = False,
    method: str = "euler",
) -> LIF:
    """The neuron that keeps `decay` of its potential in each time step.

        v' = decay v + x,    or decay v + (1 - decay) x    if scale_input
        z = [v' > threshold],    v = 0 where z = 1

    Args:
      decay: at least 0 and below 1; a number or one for each unit.
      dt: the time step in seconds, which fixes the time constant.
      threshold: the threshold.
      reset: `"zero"`, or the value that the potential is set to. `"subtract"` is
        refused: NIR has no field for it.
      scale_input: whether the input is multiplied by 1 - decay. Then R = 1, which is
        all that norse reads.
      method: how the time constant is discretised; `run` needs the same.

    Raises:
      ValueError: for a reset by subtraction, or a decay out of range.

    Example:
      >>> lif = lif_from_decay(0.75, dt=1e-3, reset="zero")
      >>> float(lif.tau), float(lif.r)
      (0.004, 4.0)
    """
    return LIF(
        tau=tau_from_decay(decay, dt=dt, method=method),
        r=_input_factor(decay, scale_input),
        v_threshold=threshold,
        v_reset=_reset_value(reset),
    )


def cuba_lif_from_decay(
    synaptic_decay: Any,
    decay: Any,
    *,
    dt: float,
    threshold: Any = 1.0,
    reset: Any,
    scale_input: bool = False,
    method: str = "euler",
) -> CubaLIF:
    """The neuron with a synaptic current, from the two decays per time step.

        I' = synaptic_decay I + x,    v' = decay v + I'

    With `scale_input` both x and I' are multiplied by 1 minus the decay beside them.

    Args:
      synaptic_decay: of the current; at least 0 and below 1.
      decay: of the potential.
      dt: the time step in seconds, which fixes the time constants.
      threshold: the threshold.
      reset: as for `lif_from_decay`.
      scale_input: as above. snntorch reads only the other one.
      method: how the time constants are discretised; `run` needs the same.

    Raises:
      ValueError: for a reset by subtraction, or a decay out of range.

    Example:
      >>> cuba = cuba_lif_from_decay(0.5, 0.75, dt=1e-3, reset="zero")
      >>> float(cuba.tau_syn), float(cuba.w_in), float(cuba.r)
      (0.002, 2.0, 4.0)
    """
    return CubaLIF(
        tau_syn=tau_from_decay(synaptic_decay, dt=dt, method=method),
        tau_mem=tau_from_decay(decay, dt=dt, method=method),
        r=_input_factor(decay, scale_input),
        w_in=_input_factor(synaptic_decay, scale_input),
        v_threshold=threshold,
        v_reset=_reset_value(reset),
    )


def li_from_decay(
    decay: Any, *, dt: float, scale_input: bool = False, method: str = "euler"
) -> LI:
    """The leaky read-out that keeps `decay` of its value in each time step.

        v' = decay v + x,    or decay v + (1 - decay) x    if scale_input

    Args:
      decay: at least 0 and below 1; a number or one for each unit.
      dt: the time step in seconds, which fixes the time constant.
      scale_input: whether the input is multiplied by 1 - decay.
      method: how the time constant is discretised; `run` needs the same.

    Raises:
      ValueError: for a decay out of range.

    Example:
      >>> float(li_from_decay(0.75, dt=1e-3, scale_input=True).r)
      1.0
    """
    tau = tau_from_decay(decay, dt=dt, method=method)
    return LI(tau=tau, r=_input_factor(decay, scale_input))


def _input_factor(decay: Any, scale_input: bool) -> Any:
    """R in v' = decay v + (1 - decay) R x."""
    whole = np.asarray(decay, np.float64)
    return np.ones_like(whole) if scale_input else 1 / (1 - whole)


def _reset_value(reset: Any) -> Any:
    if isinstance(reset, str):
        if reset == "zero":
            return 0.0
        if reset == "subtract":
            raise ValueError(
                'reset="subtract": NIR has no field for it; LIF.v_reset is a value '
                "that the potential is set to, and simulators differ in what they make "
                'of it. Train with reset="zero".'
            )
        raise ValueError(f'reset is {reset!r}; it must be "zero" or a number.')
    return reset


def absorb_resistance(
    layers: Sequence[Layer], *, input_shape: Any = None
) -> list[Layer]:
    """The same network with R = 1 in I, IF, LI and LIF: R goes into the weights before.

        R (W x + b + V z) = (R W) x + R b + (R V) z

    norse reads no R in these neurons. Current-based neurons keep theirs.

    Args:
      layers: the network, from input to output.
      input_shape: the shape of one example, where the first layer does not tell it.

    Returns:
      New layers; those without R, or with R = 1, are the ones that were given.

    Raises:
      ValueError: where such a neuron has no weights directly before it.

    Example:
      >>> import jax.numpy as jnp
      >>> from apical.interop import nir
      >>> layers = [nir.Linear(jnp.ones((1, 2))), nir.LIF(tau=20e-3, r=20.0)]
      >>> linear, lif = nir.absorb_resistance(layers)
      >>> linear.weight.tolist(), lif.r
      ([[20.0, 20.0]], 1.0)
    """
    shapes = layer_shapes(layers, input_shape)
    found: list[Layer] = []
    for i, each in enumerate(layers):
        neurons = each.neurons if isinstance(each, Recurrent) else each
        if isinstance(neurons, I | IF | LI | LIF) and np.any(
            np.asarray(neurons.r) != 1
        ):
            where = f"layers[{i}] ({name_of(neurons)})"
            if i == 0:
                raise ValueError(
                    f"{where} has R = {neurons.r} and no weights before it: put "
                    "Scale(1.0) before it."
                )
            factor = np.broadcast_to(np.asarray(neurons.r), shapes[i])
            found[-1] = _scaled(found[-1], factor, where)
            one: Layer = dataclasses.replace(neurons, r=1.0)
            if isinstance(each, Recurrent):
                back = _scaled(each.synapses, factor, where)
                each = Recurrent(one, back)
            else:
                each = one
        found.append(each)
    return found


def _scaled(weights: Layer, factor: np.ndarray, where: str) -> Layer:
    """The weights with each unit's output multiplied."""
    if isinstance(weights, Scale):
        return Scale(_times(weights.scale, factor))
    if isinstance(weights, Conv1d | Conv2d):
        channels = factor.reshape(len(factor), -1)
        if np.any(channels != channels[:, :1]):
            raise ValueError(
                f"{where} has R that differs within a channel, and a convolution "
                "before it: put Scale(1.0) between them."
            )
        column = channels[:, 0]
        kernel = _times(weights.weight, column.reshape(-1, *[1] * (weights.axes + 1)))
        return dataclasses.replace(
            weights, weight=kernel, bias=_times(weights.bias, column)
        )
    if isinstance(weights, Linear):
        return Linear(_times(weights.weight, factor[:, None]))
    if isinstance(weights, Affine):
        return Affine(
            _times(weights.weight, factor[:, None]), _times(weights.bias, factor)
        )
    raise ValueError(
        f"{where} has R other than 1, and a {name_of(weights)} before it, which has no "
        "weights: put Scale(1.0) between them."
    )


def _times(value: Any, factor: np.ndarray) -> Any:
    """The product, rounded once to the precision of the value."""
    array = np.asarray(value)
    exact = array.astype(np.float64) * factor.astype(np.float64)
    kept = exact if isinstance(value, int | float) else exact.astype(array.dtype)
    return jnp.asarray(kept) if isinstance(value, jax.Array) else kept
