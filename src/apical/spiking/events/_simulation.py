"""Simulation of LIF neurons from event to event: spike times without time steps.

Nothing here is differentiated. Without recurrent connections the potential at every
event follows from the inputs by a running sum, and a spike changes all later values by
-threshold exp(-(t - t_spike) / tau_m): one pass over all intervals finds the next spike
of every neuron. With them, `simulate_recurrent` walks from event to event.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ._potential import advance, crossing, peak, response, solve_crossing


class Neurons(NamedTuple):
    """Constants of all neurons: both time constants and the threshold."""

    tau_m: jax.Array
    tau_s: jax.Array
    threshold: jax.Array


class Arrivals(NamedTuple):
    """Inputs in the order in which they arrive.

    Attributes:
      times: [events, n], or [events, 1] if all neurons share them; those that never
        arrive stand at the end, at the time of the last that does.
      weights: [events, n]; 0 for those that never arrive.
      order: which input stands where, of the shape of `times`.
    """

    times: jax.Array
    weights: jax.Array
    order: jax.Array


class Record(NamedTuple):
    """The spikes of a simulation.

    Attributes:
      times: [n, max_spikes]; inf where there is none.
      currents: [n, max_spikes], the synaptic current at each spike.
      lost: [n], the time of the first spike for which there was no room; else inf.
    """

    times: jax.Array
    currents: jax.Array
    lost: jax.Array


def arrivals(times: jax.Array, weights: jax.Array, until: jax.Array) -> Arrivals:
    """Sort the arrival times [events, n or 1] of inputs with weights [events, n]."""
    order = jnp.argsort(times, axis=0)
    times = jnp.take_along_axis(times, order, 0)
    everywhere = jnp.broadcast_to(order, weights.shape)
    weights = jnp.take_along_axis(weights, everywhere, 0)
    come = times < until
    last = jnp.max(jnp.where(come, times, -jnp.inf), 0)
    last = jnp.where(jnp.isfinite(last), last, jnp.minimum(until, 0.0))
    return Arrivals(jnp.where(come, times, last), jnp.where(come, weights, 0.0), order)


def potentials(
    given: Arrivals, until: jax.Array, cell: Neurons
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Potential and current from each event on, if no neuron ever spikes.

    Returns the potential [events + 1, n] at every event and at `until`, the current
    [events, n] after each event, and the times [events + 1, n or 1].
    """
    end = jnp.broadcast_to(until, given.times[:1].shape)
    times = jnp.concatenate([given.times, end])
    gap = times[1:] - times[:-1]
    decays = jnp.exp(-gap / cell.tau_m), jnp.exp(-gap / cell.tau_s)
    rise = response(gap, cell.tau_m, cell.tau_s)

    def step(state: Any, now: Any) -> tuple[Any, Any]:
        v, i = state
        weight, slow, fast, rise = now
        i = i + weight
        return (v * slow + i * rise, i * fast), (v, i)

    start = jnp.zeros_like(given.weights[0])
    (v, _), (vs, i) = lax.scan(step, (start, start), (given.weights, *decays, rise))
    return jnp.concatenate([vs, v[None]]), i, times


def simulate(
    given: Arrivals, until: jax.Array, cell: Neurons, max_spikes: int
) -> Record:
    """The spikes of neurons without connections among each other."""
    v, i, times = potentials(given, until, cell)
    events, n = i.shape
    index = jnp.arange(events)[:, None]
    starts, ends = (jnp.broadcast_to(t, i.shape) for t in (times[:-1], times[1:]))

    def spike(carry: Any) -> Any:
        k, going, v, i, starts, first, record = carry
        top_at, top = peak(v[:-1], i, *cell[:2])
        inside = top_at <= ends - starts
        crosses = jnp.where(inside, top, v[1:]) >= cell.threshold
        crosses &= (index >= first) & going
        at = jnp.argmax(crosses, 0)
        fires = jnp.any(crosses, 0)

        def here(x: jax.Array) -> jax.Array:
            return jnp.take_along_axis(x, at[None], 0)[0]

        begun, limit = here(starts), here(ends)
        d = solve_crossing(here(v), here(i), here(top_at), here(top), *cell)
        t = jnp.minimum(begun + d, limit)
        current = here(i) * jnp.exp(-(t - begun) / cell.tau_s)
        record = _write(record, k, fires, t, current)
        # Later potentials fall; within its interval the neuron starts anew at t.
        reset = cell.threshold * jnp.exp(-jnp.maximum(times[1:] - t, 0) / cell.tau_m)
        later = fires & (index >= at)
        now = fires & (index == at)
        ahead = jnp.where(later, v[1:] - reset, v[1:])
        behind = jnp.concatenate([v[:1], ahead[:-1]])
        behind = jnp.where(now, 0.0, behind)
        v = jnp.concatenate([behind, ahead[-1:]])
        i, starts = jnp.where(now, current, i), jnp.where(now, t, starts)
        return k + 1, fires, v, i, starts, at, record

    def unfinished(carry: Any) -> jax.Array:
        k, going, *_ = carry
        return (k <= max_spikes) & jnp.any(going)

    begin = jnp.ones(n, bool)
    first = jnp.zeros(n, int)  # as argmax returns
    record = _nothing(n, max_spikes, v.dtype)
    carry = (0, begin, v, i, starts, first, record)
    return lax.while_loop(unfinished, spike, carry)[-1]


def _nothing(n: int, max_spikes: int, dtype: Any) -> Record:
    never = jnp.full((n, max_spikes), jnp.inf, dtype)
    return Record(never, jnp.zeros_like(never), jnp.full(n, jnp.inf, dtype))


def _write(
    record: Record, k: jax.Array, fires: jax.Array, t: jax.Array, current: jax.Array
) -> Record:
    """Note the `k`-th spike of the neurons that fire; `k` may differ between them."""
    slots = jnp.arange(record.times.shape[1])
    where = fires[:, None] & (slots == jnp.expand_dims(k, -1))
    lost = fires & (k >= len(slots))
    return Record(
        jnp.where(where, t[:, None], record.times),
        jnp.where(where, current[:, None], record.currents),
        jnp.where(lost, t, record.lost),
    )


def simulate_recurrent(
    given: Arrivals,
    recurrent: jax.Array,
    delays: jax.Array,
    until: jax.Array,
    cell: Neurons,
    max_spikes: int,
) -> Record:
    """The spikes of neurons whose spikes reach each other, until the first is lost.

    Arguments as of `simulate`, and the weights [n, n] and delays [n or 1, n or 1] from
    row to column. What arrives in (t_old, t_new] is added at t_new, the next event.
    """
    n = given.weights.shape[1]
    inputs = jnp.broadcast_to(given.times, given.weights.shape)
    # Those that never arrive have weight 0 and stand at the time of the last.
    inputs = jnp.concatenate([inputs, jnp.full((1, n), jnp.inf, inputs.dtype)])
    weights = jnp.concatenate([given.weights, jnp.zeros((1, n), inputs.dtype)])

    def here(x: jax.Array, at: jax.Array) -> jax.Array:
        return jnp.take_along_axis(x, at[None], 0)[0]

    def step(carry: Any) -> Any:
        t, _, v, i, at, counts, record = carry
        # [from, spike, to]; a spike that is not there arrives at inf
        arrive = record.times[:, :, None] + delays[:, None]
        coming = jnp.min(jnp.where(arrive > t, arrive, jnp.inf))
        coming = jnp.minimum(coming, jnp.min(here(inputs, at)))
        start = jnp.where(jnp.isfinite(t), t, jnp.minimum(coming, until))
        limit = jnp.minimum(coming, until) - start
        d = crossing(v, i, limit, *cell)
        step = jnp.minimum(jnp.min(d), limit)
        fires = (d <= step) & jnp.isfinite(d)
        new = jnp.where(jnp.any(fires), start + step, jnp.minimum(coming, until))
        v, i = advance(v, i, step, cell.tau_m, cell.tau_s)
        record = _write(record, counts, fires, jnp.full(n, new), i)
        v = jnp.where(fires, 0.0, v)
        arrive = record.times[:, :, None] + delays[:, None]
        arrived = jnp.sum((arrive > t) & (arrive <= new), 1) * recurrent
        comes = here(inputs, at) <= new
        i = i + jnp.sum(arrived, 0) + jnp.where(comes, here(weights, at), 0.0)
        ends = (new >= until) | jnp.any(jnp.isfinite(record.lost))
        return new, ends, v, i, at + comes, counts + fires, record

    def unfinished(carry: Any) -> jax.Array:
        return ~carry[1]

    zero, count = jnp.zeros(n, weights.dtype), jnp.zeros(n, jnp.int32)
    before = jnp.asarray(-jnp.inf, weights.dtype)
    record = _nothing(n, max_spikes, weights.dtype)
    carry = (before, jnp.array(False), zero, zero, count, count, record)
    return lax.while_loop(unfinished, step, carry)[-1]
