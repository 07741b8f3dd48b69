"""Efficient traces (ES-D-RTRL) in numpy, as its source states them, on three cells.

    xi_t = a xi_{t-1} + x_t,     eps_t = b D_t eps_{t-1} + (1 - b) F_t
    dE/dW = sum over t [ ((dL_t/dh_t) eps_t / (1 - b^t)) xi_t^T ]

The derivatives are written out. The rule is asked for the same on the cells of
`support.influence`, as `x`, `y` and parameters of these.
"""

from typing import NamedTuple

import numpy as np

from support.online_twins import HIDDEN, TIME


class Here(NamedTuple):
    """What a step of a cell says of itself.

    Attributes:
        state: after the step, `(examples, states * units)`.
        sent: what the read-out reads.
        taught: `taught(error)`: the derivative of the step's loss by the states after
            it, `(examples, units, states)`, from that by what is sent.
        through: D, `(examples, units, states, states)`.
        drives: name, input or None, and F, `(examples, entries, states)`, of each; its
            entry `i` drives unit `i % units`.
    """

    state: np.ndarray
    sent: np.ndarray
    taught: object
    through: np.ndarray
    drives: list[tuple[str, np.ndarray | None, np.ndarray]]


RING = np.eye(HIDDEN) + np.roll(np.eye(HIDDEN), 1, axis=1)


def efficient(cell, step, a, b):
    """The gradients of a cell whose `step(p, state, x)` is written out here."""
    p = {name: np.asarray(leaf) for name, leaf in cell.params.items()}
    x, y = (np.swapaxes(np.asarray(each), 0, 1) for each in cell.args)
    state = np.zeros((x.shape[1], cell.states * HIDDEN))
    grads = {name: np.zeros_like(leaf) for name, leaf in p.items()}
    inputs, derivatives = {}, {}
    for t in range(TIME):
        here = step(p, state, x[t])
        state = here.state
        error = 2 * (here.sent @ p["out"] - y[t]) / (y[t].size * TIME)
        grads["out"] += here.sent.T @ error
        taught = here.taught(error @ p["out"].T)
        for name, read, fresh in here.drives:
            unit = np.arange(fresh.shape[1]) % HIDDEN
            old = derivatives.get(name, 0 * fresh)
            kept = np.einsum("bupq,buq->bup", here.through[:, unit], old)
            derivatives[name] = eps = b * kept + (1 - b) * fresh
            credit = np.sum(taught[:, unit] * eps, -1) / (1 - b ** (t + 1))
            if read is None:
                grads[name] += credit.sum(0)
                continue
            inputs[name] = a * inputs.get(name, 0 * read) + read
            grads[name] += inputs[name].T @ credit
    if step is leaky:
        grads["rec"] *= RING
    return grads


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def leaky(p, u, x):
    """`u' = 0.8 u + W x + U tanh(u) + b` of a ring; tanh(u') is sent."""
    read = np.tanh(u)
    u = 0.8 * u + x @ p["in"] + read @ (p["rec"] * RING) + p["b"]
    one = np.ones((*u.shape, 1))
    sent = np.tanh(u)
    return Here(
        state=u,
        sent=sent,
        taught=lambda error: (error * (1 - sent**2))[..., None],
        through=0.8 * one[..., None],
        drives=[("in", x, one), ("rec", read, one), ("b", None, one)],
    )


def gru(p, h, x):
    """The reset gate multiplies what the synapse says; the state is sent."""
    drive, heard = x @ p["in"] + p["b"], h @ p["rec"]
    (ar, az, an), (ur, uz, un) = np.split(drive, 3, -1), np.split(heard, 3, -1)
    r, z = sigmoid(ar + ur), sigmoid(az + uz)
    n = np.tanh(an + r * un)
    of_update, of_new = z * (1 - z) * (h - n), (1 - z) * (1 - n**2)
    of_reset = of_new * un * r * (1 - r)
    driven = np.concatenate([of_reset, of_update, of_new], -1)[..., None]
    heard = np.concatenate([of_reset, of_update, of_new * r], -1)[..., None]
    return Here(
        state=(1 - z) * n + z * h,
        sent=(1 - z) * n + z * h,
        taught=lambda error: error[..., None],
        through=z[..., None, None],
        drives=[("in", x, driven), ("rec", h, heard), ("b", None, driven)],
    )


def alif(p, state, x):
    """States v, a, z; the spike z is sent, with the derivative `1 / (1 + 4|u|)²`."""
    v, a, z = np.split(state, 3, -1)
    read, before, decay = z, v, sigmoid(p["tau"])
    a = 0.95 * a + z
    v = decay * v + x @ p["in"] + z @ p["rec"] + p["b"] - z
    above = v - 1 - 0.3 * a
    z, psi = (above > 0).astype(float), 1 / (1 + 4 * np.abs(above)) ** 2
    through = np.zeros((*v.shape, 3, 3))
    through[..., 0, 0], through[..., 1, 1], through[..., 1, 2] = decay, 0.95, 1
    through[..., 2, :] = psi[..., None] * (
        through[..., 0, :] - 0.3 * through[..., 1, :]
    )
    fresh = np.stack([np.ones_like(v), np.zeros_like(v), psi], -1)
    of_decay = fresh * (before * decay * (1 - decay))[..., None]
    return Here(
        state=np.concatenate([v, a, z], -1),
        sent=z,
        taught=lambda error: error[..., None] * np.array([0.0, 0.0, 1.0]),
        through=through,
        drives=[
            *(("in", x, fresh), ("rec", read, fresh)),
            *(("b", None, fresh), ("tau", None, of_decay)),
        ],
    )


STEPS = {"leaky": leaky, "gru": gru, "alif": alif}
