"""Published formulas of online rules in numpy, for cases of `support.online_twins`.

Each returns the gradients of one case in the form of its parameters. Where the loss is
the mean squared error, its derivative by the output is `2 (out - y) / size`.
"""

import numpy as np

from support.online_twins import Case


def arrays(case: Case):
    """Parameters, inputs `(time, examples, width)`, targets, as numpy arrays."""
    params = {name: np.asarray(leaf) for name, leaf in case.params.items()}
    x, y = (np.swapaxes(np.asarray(a), 0, 1) for a in case.args)
    return params, x, y


def d_rtrl(case: Case, feedback=None):
    """D-RTRL of the case "leaky": `ε_t = D ε_{t-1} + diag(D_f) x_t^T`.

    The unit is `u' = 0.8 u + W x + U tanh(u) + b`, so `D = 0.8` and `D_f = 1`: the
    trace of a synapse is its input, filtered. `feedback` stands in place of the
    read-out's weights.
    """
    p, x, y = arrays(case)
    back = p["out"] if feedback is None else np.asarray(feedback)
    u = np.zeros((x.shape[1], p["rec"].shape[0]))
    traces = [np.zeros((x.shape[1], x.shape[2])), np.zeros_like(u), 0.0]
    grads = {name: np.zeros_like(leaf) for name, leaf in p.items()}
    for row, target in zip(x, y, strict=True):
        inputs = row, np.tanh(u), 1.0
        traces = [0.8 * e + new for e, new in zip(traces, inputs, strict=True)]
        u = 0.8 * u + row @ p["in"] + np.tanh(u) @ p["rec"] + p["b"]
        sent = np.tanh(u)
        error = 2 * (sent @ p["out"] - target) / y.size
        signal = error @ back.T * (1 - sent**2)
        grads["in"] += traces[0].T @ signal
        grads["rec"] += traces[1].T @ signal
        grads["b"] += traces[2] * signal.sum(axis=0)
        grads["out"] += sent.T @ error
    return grads


def rflo(case: Case, feedback=None):
    """RFLO (Murray 2019) of the case "leaky_rate", with `τ = 4`.

    `h' = (1 - 1/τ) h + (1/τ) tanh(q)`, `q = W h + V x`, and the synapse from b to a has
    `p_ab' = (1 - 1/τ) p_ab + (1/τ) tanh'(q_a) h_b`; its change is `[B e]_a p_ab`.
    """
    p, x, y = arrays(case)
    back = p["out"] if feedback is None else np.asarray(feedback)
    examples, units = x.shape[1], p["rec"].shape[0]
    h = np.zeros((examples, units))
    inner = np.zeros((examples, units, units))
    outer = np.zeros((examples, x.shape[2], units))
    grads = {name: np.zeros_like(leaf) for name, leaf in p.items()}
    for row, target in zip(x, y, strict=True):
        rate = np.tanh(row @ p["in"] + h @ p["rec"])
        slope = 1 - rate**2
        inner = 0.75 * inner + 0.25 * slope[:, None, :] * h[:, :, None]
        outer = 0.75 * outer + 0.25 * slope[:, None, :] * row[:, :, None]
        h = 0.75 * h + 0.25 * rate
        error = 2 * (h @ p["out"] - target) / y.size
        signal = error @ back.T
        grads["rec"] += np.einsum("bj,bij->ij", signal, inner)
        grads["in"] += np.einsum("bj,bij->ij", signal, outer)
        grads["out"] += h.T @ error
    return grads


def ottt(case: Case):
    """OTTT (Xiao et al. 2022) of the case "stacked_lif".

    `dW = Σ_t x̂_t^T (dL_t/ds_t ψ_t)` with the filtered input `x̂' = λ x̂ + x`, in each
    layer; dL_t/ds_t comes down the layers of the same step.
    """
    p, x, y = arrays_of_stack(case)
    first, second, out = p
    examples = x.shape[1]
    v, u = np.zeros((examples, first.shape[1])), np.zeros((examples, second.shape[1]))
    seen, heard = np.zeros((examples, first.shape[0])), np.zeros_like(v)
    grads = [np.zeros_like(each) for each in p]
    for row, target in zip(x, y, strict=True):
        v = 0.9 * v + row @ first
        z, psi = v > 1, 1 / (1 + 4 * np.abs(v - 1)) ** 2
        v = v - z
        u = 0.9 * u + z @ second
        s, phi = u > 1, 1 / (1 + 4 * np.abs(u - 1)) ** 2
        u = u - s
        seen, heard = 0.9 * seen + row, 0.9 * heard + z
        error = 2 * (s @ out - target) / y.size
        upper = error @ out.T * phi
        lower = upper @ second.T * psi
        grads[0] += seen.T @ lower
        grads[1] += heard.T @ upper
        grads[2] += s.T.astype(float) @ error
    return {"lower": {"in": grads[0]}, "upper": {"in": grads[1]}, "out": grads[2]}


def arrays_of_stack(case: Case):
    weights = case.params["lower"]["in"], case.params["upper"]["in"], case.params["out"]
    x, y = (np.swapaxes(np.asarray(a), 0, 1) for a in case.args)
    return list(map(np.asarray, weights)), x, y
