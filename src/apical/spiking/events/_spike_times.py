"""Exact spike times of LIF neurons, differentiable by implicit differentiation.

    tau_m V' = -V + I,   tau_s I' = -I,   I_j += W_ij at input i,   V = theta -> V = 0

As V falls by theta at a spike, the potential of neuron j is a sum of inputs and spikes,

    V_j(t) = sum_i W_ij sum_s kappa(t - t_is - d_ij)
             - theta sum_k exp(-(t - T_jk) / tau_m)

with kappa of `_potential`. A spike time T solves V(T) = theta, so that

    dT = -dV(T) / V'(T),     tau_m V'(T) = I(T) - theta

The simulation is not differentiated. One Newton step from the times that it found,
T - (V(T) - theta) / V'(T), changes no value, and its derivative is that equation. The
gradient is the one of EventProp. Wunderlich & Pehl 2021.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from ._layer import (
    Layer,
    Loop,
    drive_at,
    layer_of,
    loop_of,
    refuse,
    sorted_arrivals,
    wrong_values,
)
from ._potential import response
from ._simulation import (
    Neurons,
    Record,
    simulate,
    simulate_recurrent,
)

_Step = tuple[jax.Array, jax.Array]


class SpikeTimes(NamedTuple):
    """Spike times, and what is missing from them.

    Attributes:
      times: [n, max_spikes], ascending in each row; inf where there is no spike.
        Differentiable; no gradient passes an inf. Let a loss that skips missing spikes
        find them by `jnp.isinf`, so that NaN (see `spike_times`) is not skipped too.
      counts: [n], how many spikes each neuron has in `times`.
      overflow: [n], whether the neuron had another spike before `until` that found no
        room in `times`.
      complete_until: [n], the time before which no spike is missing: that of the first
        spike without room, otherwise `until`. In a recurrent network the simulation
        ends with the first loss: it is one time for all neurons.
    """

    times: jax.Array
    counts: jax.Array
    overflow: jax.Array
    complete_until: jax.Array


def spike_times(
    weights: ArrayLike,
    input_times: ArrayLike,
    *,
    tau_m: ArrayLike,
    tau_s: ArrayLike,
    max_spikes: int,
    threshold: ArrayLike = 1.0,
    delays: ArrayLike = 0.0,
    recurrent: ArrayLike | None = None,
    recurrent_delays: ArrayLike = 0.0,
    until: ArrayLike = jnp.inf,
    overflow: Literal["error", "truncate"] = "error",
    min_slope: ArrayLike = 1e-6,
) -> SpikeTimes:
    """The exact spike times of LIF neurons with exponential synapses.

        tau_m V' = -V + I,   tau_s I' = -I,   I_j += W_ij at input i,   V = theta -> 0

    Times have any one unit. The result is differentiable in all arrays that are given:
    weights, input times, delays, time constants and the threshold. The weight meets the
    response to its input in a product, so that apical's rules for the backward path
    apply, also to recurrent weights. Layers are composed: `times` of one are
    `input_times` of the next. Use `jax.vmap` for examples.

    The gradient is exact while no spike appears or vanishes. A neuron without spikes
    learns nothing from them: see `subthreshold_peak`.

    Args:
      weights: [inputs, n].
      input_times: [inputs] or [inputs, spikes], in any order; inf where there is none.
      tau_m: the membrane's time constant.
      tau_s: the synapse's; it may be equal to `tau_m`.
      max_spikes: how many spikes of a neuron there is room for.
      threshold: theta, positive.
      delays: a number or an array that broadcasts to the shape of `weights`; not
        negative.
      recurrent: [n, n], from row to column; None: no connections among the neurons.
      recurrent_delays: as `delays`, for `recurrent`.
      until: when the simulation ends.
      overflow: what happens if a neuron spikes more than `max_spikes` times: `"error"`:
        a ValueError, or under `jax.jit`, where none can be raised, all times are NaN.
        `"truncate"`: the first spikes are returned, and the fields `overflow` and
        `complete_until` say what is missing. A readout of first spikes wants that.
      min_slope: bounds the gradient: at a crossing slower than this fraction of
        `threshold / tau_m` the slope counts as this. Only there is the gradient not
        exact.

    Returns:
      The times, and what is missing from them.

    Raises:
      TypeError: if an array holds complex numbers.
      ValueError: for shapes that do not fit, and for values that mean nothing: weights
        that are not finite, times that are NaN or -inf, time constants or a threshold
        that are not positive, negative delays. Under `jax.jit`, where values are
        unknown, those make all times NaN.

    Example:
      The first spike of one neuron with tau_m = 2 tau_s in closed form. From one input
      of weight w, V = w (x - x^2) with x = exp(-t / tau_m).

      >>> import jax, jax.numpy as jnp
      >>> from apical import spiking
      >>> def first(w):
      ...     inputs = jnp.zeros(1)
      ...     out = spiking.spike_times(
      ...         w, inputs, tau_m=20.0, tau_s=10.0, max_spikes=1, overflow="truncate"
      ...     )
      ...     return out.times[0, 0]
      >>> w = jnp.array([[5.0]])
      >>> x = (1 + jnp.sqrt(1 - 4 / w)) / 2
      >>> bool(jnp.allclose(first(w), -20 * jnp.log(x)))
      True
      >>> slope = -20 / x * (1 / w**2) / jnp.sqrt(1 - 4 / w)
      >>> bool(jnp.allclose(jax.grad(first)(w), slope))
      True

    Source: Wunderlich & Pehl 2021, Event-based backpropagation can compute exact
    gradients for spiking neural networks, Scientific Reports 11:12829.
    """
    if overflow not in ("error", "truncate"):
        raise ValueError(
            f"`overflow` must be 'error' or 'truncate', it is {overflow!r}."
        )
    if not isinstance(max_spikes, int) or max_spikes < 1:
        raise ValueError(f"`max_spikes` must be a positive int, it is {max_spikes!r}.")
    constants = (tau_m, tau_s, threshold)
    layer = layer_of(weights, input_times, delays, constants, until)
    loop = loop_of(layer, recurrent, recurrent_delays)
    out = _solved(layer, loop, jnp.asarray(min_slope, layer.until.dtype), max_spikes)
    wrong = wrong_values(layer, loop)
    if overflow == "error":
        wrong[
            f"A neuron spikes more than {max_spikes} times. Raise `max_spikes`; or "
            "give overflow='truncate', if later spikes do not matter."
        ] = jnp.any(out.overflow)
    return out._replace(times=refuse(out.times, lax.stop_gradient(wrong)))


@partial(jax.jit, static_argnums=3)  # called without jit it would take seconds
def _solved(
    layer: Layer, loop: Loop | None, min_slope: jax.Array, max_spikes: int
) -> SpikeTimes:
    record = lax.stop_gradient(_simulate(layer, loop, max_spikes))
    known = record.times < jnp.inf
    at = jnp.where(known, record.times, 0.0)
    drive = drive_at(layer, at)
    slope = _slope(record, layer.cell, min_slope)
    if loop is None:
        exact = _newton(drive, at, slope, record.currents, layer.cell)
    else:
        exact = _newton_in_order(drive, at, slope, known, layer.cell, loop)
    lost = record.lost < jnp.inf
    first_lost = record.lost if loop is None else jnp.min(record.lost)
    end = jnp.minimum(lax.stop_gradient(layer.until), first_lost)
    return SpikeTimes(
        jnp.where(known, exact, jnp.inf),
        jnp.sum(known, 1, dtype=jnp.int32),
        lost,
        jnp.broadcast_to(end, lost.shape),
    )


def _simulate(layer: Layer, loop: Loop | None, max_spikes: int) -> Record:
    layer, loop = lax.stop_gradient((layer, loop))
    inputs = sorted_arrivals(layer)
    if loop is None:
        return simulate(inputs, layer.until, layer.cell, max_spikes)
    return simulate_recurrent(inputs, *loop, layer.until, layer.cell, max_spikes)


def _slope(record: Record, cell: Neurons, min_slope: jax.Array) -> jax.Array:
    """V' at each spike; where there is none, a number that is not 0."""
    tau_m, _, threshold = lax.stop_gradient(cell)
    rise = jnp.maximum(record.currents / threshold - 1, min_slope)
    rise = jnp.where(record.times < jnp.inf, rise, 1.0)
    return lax.stop_gradient(rise * threshold / tau_m)


def _newton(
    drive: jax.Array,
    at: jax.Array,
    slope: jax.Array,
    currents: jax.Array,
    cell: Neurons,
) -> jax.Array:
    """One Newton step, spike after spike, for neurons without recurrent connections.

    Since V = 0 after spike k - 1, with U the potential without spikes

        V(T_k) = U(T_k) - a U(T_{k-1}),   a = exp(-(T_k - T_{k-1}) / tau_m)

    and dV(T_k) / dT_{k-1} = -a I(T_{k-1}) / tau_m.
    """
    still = lax.stop_gradient
    before = ((0, 0), (1, 0))  # of each spike, the spike before; none for the first
    gap = at - jnp.pad(at, before)[:, :-1]
    decay = jnp.exp(-jnp.maximum(gap, 0) / cell.tau_m)
    v = drive - decay * jnp.pad(drive, before)[:, :-1] - cell.threshold
    carried = still(decay / cell.tau_m) * jnp.pad(currents, before)[:, :-1] / slope
    # The moves m_k = carried_k m_{k-1} + own_k.
    _, moves = lax.associative_scan(_follow, (carried, -(v - still(v)) / slope), axis=1)
    return at + moves


def _follow(one: _Step, other: _Step) -> _Step:
    """Two steps of a linear recurrence as one."""
    (a, b), (c, d) = one, other
    return a * c, c * b + d


def _newton_in_order(
    drive: jax.Array,
    at: jax.Array,
    slope: jax.Array,
    known: jax.Array,
    cell: Neurons,
    loop: Loop,
) -> jax.Array:
    """One Newton step in the order of all spikes, so that each sees those before it.

    Backwards it is a triangular solve by substitution. It is written as a loop over
    spikes so that recurrent weights meet what arrived in a product.
    """
    n, spikes = at.shape
    slots = jnp.arange(n * spikes).reshape(n, spikes)
    delays = jnp.broadcast_to(loop.delays, (len(loop.delays), n))
    still = lax.stop_gradient

    def step(times: jax.Array, slot: jax.Array) -> tuple[jax.Array, None]:
        now = slots == slot
        of = jnp.any(now, 1)
        t = jnp.sum(jnp.where(now, at, 0.0))
        earlier = known & (at < t)
        lag = jnp.where(earlier, t - times, 0.0)
        delay = jnp.sum(jnp.where(of, delays, 0.0), 1, keepdims=True)
        arrived = jnp.sum(response(lag - delay, cell.tau_m, cell.tau_s), 1)
        reset = jnp.where(earlier & of[:, None], jnp.exp(-lag / cell.tau_m), 0.0)
        v = jnp.sum(jnp.where(of, arrived @ loop.weights, 0.0))
        v = v + jnp.sum(jnp.where(now, drive, 0.0))
        v = v - cell.threshold * (1 + jnp.sum(reset))
        rise = jnp.sum(jnp.where(now, slope, 0.0))
        return jnp.where(now & known, t - (v - still(v)) / rise, times), None

    order = jnp.argsort(jnp.where(known, at, jnp.inf).reshape(-1))
    return lax.scan(step, at, order)[0]
