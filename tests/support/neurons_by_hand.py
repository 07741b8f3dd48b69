"""Spiking neurons as loops in numpy, forwards and backwards.

Each `*_by_hand` takes currents [T, N] and returns what the neurons did in each step.
`gradient_by_hand` is the gradient of sum(weights * spikes) by the currents.
"""

import numpy as np


def lif_by_hand(currents, decay, threshold=1.0, reset="subtract"):
    v = s = np.zeros_like(currents[0])
    potentials, spikes = [], []
    for current in currents:
        if reset == "subtract":
            v = decay * v + current - threshold * s
        else:
            v = np.where(s == 1, 0.0, decay * v) + current
        s = (v > threshold).astype(float)
        potentials.append(v)
        spikes.append(s)
    return np.array(potentials), np.array(spikes)


def cuba_by_hand(currents, synaptic_decay, decay, threshold=1.0, reset="subtract"):
    filtered, i = [], np.zeros_like(currents[0])
    for current in currents:
        i = synaptic_decay * i + current
        filtered.append(i)
    return lif_by_hand(np.array(filtered), decay, threshold, reset)


def alif_by_hand(currents, decay, rho, beta, threshold=1.0, reset="subtract"):
    v = s = a = np.zeros_like(currents[0])
    potentials, adaptations, spikes = [], [], []
    for current in currents:
        a = rho * a + s
        if reset == "subtract":
            v = decay * v + current - threshold * s
        else:
            v = np.where(s == 1, 0.0, decay * v) + current
        s = (v > threshold + beta * a).astype(float)
        potentials.append(v)
        adaptations.append(a)
        spikes.append(s)
    return np.array(potentials), np.array(adaptations), np.array(spikes)


def izhikevich_by_hand(currents, a, b, c, d):
    """The published script: the reset first, then half steps for v, then u."""
    v = np.full_like(currents[0], -65.0)
    u = b * v
    potentials, spikes = [], []
    for current in currents:
        fired = v > 30
        v = np.where(fired, c, v)
        u = np.where(fired, u + d, u)
        v = v + 0.5 * (0.04 * v**2 + 5 * v + 140 - u + current)
        v = v + 0.5 * (0.04 * v**2 + 5 * v + 140 - u + current)
        u = u + a * (b * v - u)
        potentials.append(v)
        spikes.append((v > 30).astype(float))
    return np.array(potentials), np.array(spikes)


def gradient_by_hand(
    currents,
    weights,
    psi,
    decay,
    *,
    threshold=1.0,
    reset="subtract",
    detached=True,
    rho=0.0,
    beta=0.0,
):
    """The gradient by the currents, the last step first; psi is the surrogate's."""
    v, a, s = alif_by_hand(currents, decay, rho, beta, threshold, reset)
    by_v, by_a = np.zeros_like(v[0]), np.zeros_like(v[0])
    grads = np.zeros_like(v)
    for t in reversed(range(len(v))):
        by_s = weights[t] + by_a
        if not detached:
            falls = threshold if reset == "subtract" else decay * v[t]
            by_s = by_s - falls * by_v
        kept = decay if reset == "subtract" else decay * (1 - s[t])
        slope = psi(v[t] - threshold - beta * a[t])
        by_a = rho * by_a - beta * slope * by_s
        by_v = kept * by_v + slope * by_s
        grads[t] = by_v
    return grads
