"""NIR's neurons written as loops in numpy, in float64."""

import numpy as np


def fraction(tau, dt, method):
    return dt / tau if method == "euler" else 1 - np.exp(-dt / tau)


def lif(x, dt, *, tau, r=1.0, v_leak=0.0, v_threshold=1.0, v_reset=0.0, **how):
    """The spikes of LIF over currents (time, batch, units), by Euler or exactly."""
    return cuba_lif(
        *(x, dt),
        **{"tau_syn": None, "tau_mem": tau, "r": r, "v_leak": v_leak},
        **{"v_threshold": v_threshold, "v_reset": v_reset, **how},
    )


def cuba_lif(
    x,
    dt,
    *,
    tau_syn,
    tau_mem,
    r=1.0,
    v_leak=0.0,
    v_threshold=1.0,
    v_reset=0.0,
    w_in=1.0,
    method="euler",
    current_first=True,
    subtract=False,
    back=None,
):
    """The spikes of CubaLIF; without `tau_syn`, of LIF. `back` is a recurrent weight.

    Other conventions, which must give other spikes: the potential moved by the old
    current (`current_first=False`), a reset by subtraction (`subtract=True`).
    """
    v = np.zeros(x.shape[1:]) + v_leak
    current = np.zeros(x.shape[1:])
    z = np.zeros(x.shape[1:])
    spikes = []
    for now in np.asarray(x, np.float64):
        driven = now if back is None else now + z @ back.T
        new = driven
        if tau_syn is not None:
            k = fraction(tau_syn, dt, method)
            new = current + k * (w_in * driven - current)
        used = new if current_first else current
        v = v + fraction(tau_mem, dt, method) * (v_leak + r * used - v)
        current = new
        z = (v > v_threshold).astype(float)
        v = v - z * v_threshold if subtract else np.where(z > 0, v_reset, v)
        spikes.append(z)
    return np.stack(spikes)
