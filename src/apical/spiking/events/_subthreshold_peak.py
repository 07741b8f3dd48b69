"""Largest potential of LIF neurons: what a neuron without spikes can learn from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from ._layer import (
    Layer,
    arrival_times,
    drive_at,
    layer_of,
    refuse,
    sorted_arrivals,
    wrong_values,
)
from ._potential import peak
from ._simulation import potentials


def subthreshold_peak(
    weights: ArrayLike,
    input_times: ArrayLike,
    *,
    tau_m: ArrayLike,
    tau_s: ArrayLike,
    delays: ArrayLike = 0.0,
    until: ArrayLike = jnp.inf,
) -> jax.Array:
    """The largest potential that LIF neurons reach if they do not spike.

        max_t sum_i W_ij sum_s kappa(t - t_is - d_ij),    at least 0, the rest

    This is what a silent neuron can learn from: its spike times have no gradient, and
    its largest potential has one. A loss that is added where `counts == 0` brings such
    neurons back, for instance `(threshold - peak) ** 2`.

    The maximum is exact: between two inputs the potential has one peak, in closed form.
    The gradient is that of the potential at the time of the peak. Where an inhibitory
    input ends the rise, that time is the time of this input and moves with it.

    Args:
      weights: [inputs, n].
      input_times: [inputs] or [inputs, spikes]; inf where there is none.
      tau_m: the membrane's time constant.
      tau_s: the synapse's.
      delays: a number or an array that broadcasts to the shape of `weights`.
      until: the end of the time in which the largest potential is looked for.

    Returns:
      [n], the largest potential of each neuron.

    Raises:
      TypeError: as `spike_times`.
      ValueError: as `spike_times`.

    Example:
      One input of weight w with tau_m = 2 tau_s has its peak w / 4.

      >>> import jax.numpy as jnp
      >>> from apical import spiking
      >>> w = jnp.array([[2.0]])
      >>> spiking.subthreshold_peak(w, jnp.zeros(1), tau_m=20.0, tau_s=10.0)
      Array([0.5], dtype=float32)
    """
    layer = layer_of(weights, input_times, delays, (tau_m, tau_s, 1.0), until)
    result = _peak_of(layer)
    return refuse(result, lax.stop_gradient(wrong_values(layer, None)))


@jax.jit
def _peak_of(layer: Layer) -> jax.Array:
    still = lax.stop_gradient(layer)
    inputs = sorted_arrivals(still)
    v, i, times = potentials(inputs, still.until, still.cell)
    starts, gaps = times[:-1], times[1:] - times[:-1]
    later, top = peak(v[:-1], i, *still.cell[:2])
    within = later < gaps
    tops = jnp.where(within, top, v[1:])
    best = jnp.argmax(tops, 0)

    def chosen(x: jax.Array) -> jax.Array:
        return jnp.take_along_axis(jnp.broadcast_to(x, i.shape), best[None], 0)[0]

    inside = chosen(within)
    at = jnp.where(inside, chosen(starts + later), chosen(times[1:]))
    at = jnp.where(at < jnp.inf, at, 0.0)
    # A rise that ends with the arrival of an input: the peak moves with it.
    arrive = arrival_times(layer)
    arrive = arrive.reshape(-1, arrive.shape[-1])
    order = jnp.concatenate([inputs.order[1:], inputs.order[-1:]])
    following = chosen(jnp.take_along_axis(arrive, order, 0))
    moves = ~inside & (lax.stop_gradient(following) == at)
    move = following - lax.stop_gradient(following)
    at = at + jnp.where(moves, move, 0.0)
    reached = drive_at(layer, at[:, None])[:, 0]
    return jnp.where(chosen(tops) > 0, reached, 0.0)
