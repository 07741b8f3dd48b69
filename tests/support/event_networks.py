"""LIF networks in continuous time by hand: spikes, and the adjoint of EventProp.

Plain numpy, one event after the other. Crossings are bracketed on a grid and bisected,
and nothing of the closed forms of the library is used.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq


class Network(NamedTuple):
    """A network of LIF neurons with inputs, and how it is simulated.

    Attributes:
      weights: [inputs, n].
      recurrent: [n, n], from row to column.
      times: [inputs, spikes] of the inputs.
      delays: [inputs, n].
      recurrent_delays: [n, n].
    """

    weights: np.ndarray
    recurrent: np.ndarray
    times: np.ndarray
    delays: np.ndarray
    recurrent_delays: np.ndarray
    tau_m: float = 20.0
    tau_s: float = 5.0
    threshold: float = 1.0
    until: float = 40.0


def network(seed: int = 0, n: int = 6, inputs: int = 4, spikes: int = 3, **given):
    """A recurrent network with many spikes and different delays."""
    draw = np.random.default_rng(seed)
    made = Network(
        weights=draw.normal(2.0, 1.0, (inputs, n)),
        recurrent=draw.normal(0.2, 0.6, (n, n)),
        times=np.sort(draw.uniform(0, 25, (inputs, spikes))),
        delays=draw.uniform(0, 2, (inputs, n)),
        recurrent_delays=draw.uniform(0.1, 3, (n, n)),
    )
    return made._replace(**given)


def between(net: Network, v, i, d):
    """Potential and current a time `d` after `v` and `i`."""
    slow, fast = np.exp(-d / net.tau_m), np.exp(-d / net.tau_s)
    if net.tau_m == net.tau_s:
        rise = d / net.tau_m * slow
    else:
        rise = net.tau_s / (net.tau_m - net.tau_s) * (slow - fast)
    return v * slow + i * rise, i * fast


class Event(NamedTuple):
    """What happened at a time: the arrival of a spike, or a spike.

    Attributes:
      to: the neuron where it arrives, or that spikes.
      source: ("input" or "neuron", number, which of its spikes); None for a spike.
      current: of the neuron, just before.
    """

    time: float
    to: int
    source: tuple[str, int, int] | None
    current: float


def _first_crossing(net: Network, v, i, limit):
    grid = np.linspace(0, limit, 400)
    above = between(net, v, i, grid)[0] >= net.threshold
    if not above[1:].any():
        return np.inf
    at = 1 + int(np.argmax(above[1:]))

    def distance(d):
        return between(net, v, i, d)[0] - net.threshold

    return brentq(distance, grid[at - 1], grid[at], xtol=1e-14, rtol=1e-15)


def simulate(net: Network) -> list[Event]:
    """All events in order."""
    n = net.weights.shape[1]
    v, i, t, spikes = np.zeros(n), np.zeros(n), 0.0, np.zeros(n, int)
    waiting = [
        (net.times[a, s] + net.delays[a, j], j, ("input", a, s))
        for a, s in np.ndindex(net.times.shape)
        for j in range(n)
        if net.times[a, s] + net.delays[a, j] < net.until
    ]
    events = []
    while True:
        waiting.sort(key=lambda event: event[0])
        following = waiting[0][0] if waiting else net.until
        limit = following - t
        d = [_first_crossing(net, v[j], i[j], limit) for j in range(n)]
        j = int(np.argmin(d))
        step = min(d[j], limit)
        v, i = between(net, v, i, step)
        t = following if step == limit else t + step
        if d[j] < np.inf:
            events.append(Event(t, j, None, i[j]))
            v[j] = 0.0
            for k in range(n):
                arrives = t + net.recurrent_delays[j, k]
                if arrives < net.until:
                    waiting.append((arrives, k, ("neuron", j, spikes[j])))
            spikes[j] += 1
        elif waiting:
            _, to, source = waiting.pop(0)
            events.append(Event(t, to, source, i[to]))
            weights = net.weights if source[0] == "input" else net.recurrent
            i[to] += weights[source[1], to]
        else:
            return events


def spike_times(net: Network, events: list[Event], max_spikes: int) -> np.ndarray:
    """The spikes as an array [n, max_spikes], inf where there is none."""
    found = np.full((net.weights.shape[1], max_spikes), np.inf)
    for j, row in enumerate(found):
        times = [e.time for e in events if e.source is None and e.to == j]
        row[: len(times)] = times
    return found


def adjoint(net: Network, events: list[Event], slopes: np.ndarray, *, reset=True):
    """The gradient of a loss by the equations of EventProp.

    Args:
      net: the network.
      events: what happened in it.
      slopes: [n, max_spikes], the derivative of the loss by each spike time.
      reset: False: without the jump of the adjoint at a neuron's own spike, which is
        wrong.

    Returns:
      The gradients of weights, recurrent weights, input times, delays and recurrent
      delays.
    """
    n = net.weights.shape[1]
    slopes = slopes.copy()
    lam_v, lam_i, t = np.zeros(n), np.zeros(n), net.until
    grads = net._replace(
        **{name: np.zeros_like(getattr(net, name)) for name in net._fields[:5]}
    )
    seen = [sum(e.source is None and e.to == j for e in events) for j in range(n)]
    ratio = net.tau_m / net.tau_s  # the same kernel, with the roles exchanged
    for event in reversed(events):
        lam_i = between(net, 0.0, lam_v * ratio, t - event.time)[0] + lam_i * np.exp(
            -(t - event.time) / net.tau_s
        )
        lam_v = lam_v * np.exp(-(t - event.time) / net.tau_m)
        t, j = event.time, event.to
        if event.source is None:
            seen[j] -= 1
            jump = slopes[j, seen[j]] + reset * net.threshold * lam_v[j]
            lam_v[j] += jump / (event.current - net.threshold)
            continue
        kind, a, s = event.source
        of_input = kind == "input"
        weights = net.weights if of_input else net.recurrent
        by_weight = grads.weights if of_input else grads.recurrent
        by_time = grads.times if of_input else slopes
        by_delay = grads.delays if of_input else grads.recurrent_delays
        by_weight[a, j] -= net.tau_s * lam_i[j]
        moved = weights[a, j] * (lam_v[j] - lam_i[j])
        by_time[a, s] += moved
        by_delay[a, j] += moved
    return grads[:5]
