"""Cells, and the gradients that braintrace 0.2.6 found on them by `ES_D_RTRL`.

Each cell was written there as a `brainstate` module with its `HiddenState`s and one
`braintrace.nn.Linear` of inputs and state for each gate, compiled with a batch of two,
and `etrace_grad` gave the gradients of the mean squared error of a fixed read-out, in
float32. Weights, inputs and targets are sines. Only numbers are taken from there.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

INPUTS, UNITS, OUTPUTS, EXAMPLES, STEPS = 2, 3, 2, 2, 5


def wave(start, *shape):
    """`sin(start + 1.7 k)` at entry k."""
    entries = np.arange(np.prod(shape))
    return np.sin(start + 1.7 * entries).reshape(shape).astype(np.float32)


OUT = wave(3, UNITS, OUTPUTS)
ARGS = wave(1, STEPS, EXAMPLES, INPUTS), wave(2, STEPS, EXAMPLES, OUTPUTS)


class Golden(NamedTuple):
    """A cell and its gradients.

    Attributes:
        step: `step(params, states, x) -> states, sent`.
        states: how many states a unit has.
        decays: of the inputs and of the derivatives.
        grads: for each gate the gradients of bias and weights, `(inputs, units)`.
        doubled: the gates whose gradients are twice what they should be. The output of
            an LSTM depends on its cell state within the step, and braintrace counts
            that path twice: after one step, its gradient is twice the derivative.
    """

    step: Any
    states: int
    decays: tuple[float, float]
    grads: dict[str, tuple[list[float], list[float]]]
    doubled: tuple[str, ...] = ()

    @property
    def params(self) -> Any:
        """Weights and bias of each gate."""
        size = INPUTS + UNITS
        starts = {"w": 4.0, "wz": 4.0, "wr": 5.0, "wh": 6.0}
        starts |= {"wi": 4.0, "wg": 5.0, "wf": 6.0, "wo": 7.0}
        names = {*self.grads, *(["wr"] if "wz" in self.grads else [])}
        return {
            name: {
                "weight": wave(starts[name], size, UNITS),
                "bias": wave(starts[name] + 0.5, UNITS) / 2,
            }
            for name in sorted(names)
        }

    @property
    def expected(self) -> Any:
        """The gradients as arrays, halved where they are doubled."""
        found = {}
        for name, each in self.grads.items():
            bias, weight = (np.array(g) / (1 + (name in self.doubled)) for g in each)
            found[name] = {"bias": bias, "weight": weight.reshape(-1, UNITS)}
        return found

    def loss_fn(self, params, x, y):
        """The mean squared error over steps, examples and outputs."""

        def step(states, x):
            states, sent = self.step(params, states, x)
            return states, sent @ OUT

        start = (jnp.zeros((EXAMPLES, UNITS)),) * self.states
        return jnp.mean((jax.lax.scan(step, start, x)[1] - y) ** 2)


def gate(p, name, *read):
    return jnp.concatenate(read, -1) @ p[name]["weight"] + p[name]["bias"]


def vanilla(p, states, x):
    (h,) = states
    h = jnp.tanh(gate(p, "w", x, h))
    return (h,), h


def leaky(p, states, x):
    (h,) = states
    h = 0.8 * h + gate(p, "w", x, jnp.tanh(h))
    return (h,), jnp.tanh(h)


def adaptive(p, states, x):
    v, a = states
    u = 0.9 * v - 0.2 * a + gate(p, "w", x, jnp.tanh(v))
    return (u, 0.8 * a + 0.3 * v), jnp.tanh(u)


def gru(p, states, x):
    (h,) = states
    z, r = jax.nn.sigmoid(gate(p, "wz", x, h)), jax.nn.sigmoid(gate(p, "wr", x, h))
    h = (1 - z) * h + z * jnp.tanh(gate(p, "wh", x, r * h))
    return (h,), h


def lstm(p, states, x):
    c, h = states
    i, g, f, o = (gate(p, name, x, h) for name in ("wi", "wg", "wf", "wo"))
    c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (c, h), h


# fmt: off
GOLDENS = {
    "vanilla": Golden(vanilla, 1, (0.7, 0.7), {
        "w": ([0.10485136, -0.0048912065, 0.1066823],
              [-0.15765488, 0.25990003, -0.16453576, 0.14369829, -0.073231459,
               0.27266711, 0.14598191, -0.1478375, 0.26184431, -0.039378334,
               -0.099630795, -0.086469315, -0.14260256, 0.16375017, -0.25406748]),
    }),
    "leaky": Golden(leaky, 1, (0.7, 0.7), {
        "w": ([0.031643331, -0.00096002419, -0.0080722496],
              [-0.044445384, 0.41130501, 0.041412763, 5.2205287e-06, -0.20651324,
               0.016075283, 0.0038704989, -0.31837848, 0.0028858364, 0.0094307614,
               -0.25930783, 0.00036564545, -0.0063163163, 0.34209338, -0.0030116653]),
    }),
    "leaky, two decays": Golden(leaky, 1, (0.8, 0.0), {
        "w": ([0.033126839, 0.0047066621, -0.0076877922],
              [-0.048817914, 0.56915361, 0.040121574, 0.00028513555, -0.24625455,
               0.017116018, 0.004435543, -0.40947524, 0.0039714277, 0.010502008,
               -0.33785939, 0.00078476139, -0.0071480214, 0.44102588, -0.0042042052]),
    }),
    "adaptive": Golden(adaptive, 2, (0.7, 0.7), {
        "w": ([0.030503506, 0.0078154756, -0.0096386289],
              [-0.042462844, 0.41284338, 0.043714266, -0.00063934171, -0.22529314,
               0.014363711, 0.0032106617, -0.33933979, 0.0011375884, 0.0086532459,
               -0.2815671, -0.00017527971, -0.0054737362, 0.3622182, -0.0010565193]),
    }),
    "gru": Golden(gru, 1, (0.7, 0.7), {
        "wh": ([0.036560182, -0.030519983, -0.063226223],
               [-0.4072434, 0.39282736, -0.46293187, 0.073355921, -0.14446589,
                0.13126652, 0.014230738, -0.00684501, 0.0089377938, -0.060514133,
                0.08171773, -0.086363114, 0.0023020518, -0.02032331, 0.015255163]),
        "wz": ([-0.011508468, 0.045916785, 0.025673216],
               [-0.024629286, 0.050791144, 0.017408537, 0.013974572, 0.0028438033,
                0.0029660936, -0.0015412838, -0.0040269084, -7.7625642e-05,
                -0.015750946, 0.0092466064, 0.0067269355, 0.015471444, 0.0051578451,
                -0.0065918691]),
    }),
    "lstm": Golden(lstm, 2, (0.7, 0.7), {
        "wf": ([0.031194249, 0.0096921315, -0.020435611],
               [0.020136332, -0.003230704, -0.0088400785, -0.0061376812, 0.0089201629,
                0.0037587748, -0.006827733, -0.00025016395, 0.004153762, 0.007617462,
                -0.000658006, -0.0050094198, 0.0020282827, -0.00069362851,
                -0.00094416941]),
        "wg": ([0.029322792, -0.083736025, 0.046774525],
               [-0.28451338, 0.26804024, -0.25811213, 0.12598592, -0.09763477,
                0.13993524, 0.051240742, -0.028867124, 0.047556873, -0.039430633,
                0.020646852, -0.036190122, -0.033015311, 0.027647281, -0.033473119]),
        "wi": ([0.090298504, 0.067535006, -0.0039509316],
               [0.11473633, 0.011211233, 0.0046390616, -0.025833407, 0.033454187,
                0.0091300141, -0.02088267, -0.0023081282, -0.0011455293, 0.020195087,
                0.0022058175, -0.0013379807, 0.012895234, -0.0012705083,
                -0.00064029341]),
        "wo": ([0.028431857, 0.048287455, -0.0091643976],
               [0.0086549399, 0.052047145, -0.017534269, -0.0088535268, -0.017316824,
                0.0067838775, -0.0038749543, -0.014929994, 0.0010053155, 0.0054341555,
                0.014357716, -0.0029787403, 0.0017168064, 0.0059245648,
                -0.0018248961]),
    }, doubled=("wf", "wg", "wi")),
}
# fmt: on
