"""Cases of the cells of equinox, flax (linen and nnx) and haiku.

The loss is written as their users write it; the twin is the cell's equation by hand,
over the same parameters.
"""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from ._case import (
    EXAMPLES,
    HIDDEN,
    INPUTS,
    OUTPUTS,
    Draw,
    by_time,
    enter,
    squared,
    stopped,
    zeros,
)

sigmoid = jax.nn.sigmoid


def scanned(step, start, x):
    """What `step(carry, x) -> carry, out` sends, `(examples, time, ...)`."""
    return by_time(lax.scan(step, start, by_time(x))[1])


def lstm(paths, gates, c):
    """From the drives of the gates i, f, g, o and the cell's state: (h, c), h."""
    i, f, g, o = gates
    c = sigmoid(f) * paths.own(c) + sigmoid(i) * jnp.tanh(g)
    h = sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def interpolated(paths, h, new, keep):
    h = (1 - keep) * new + keep * paths.own(h)
    return h, h


# ------------------------------------------------------------ equinox


def equinox_problem(draw: Draw, cell, start, read, equation):
    """One example at a time, mapped, as equinox's cells are used."""
    model = {"cell": cell, "out": eqx.nn.Linear(HIDDEN, OUTPUTS, key=jax.random.key(1))}
    params = draw.like(model)

    def example(model, x):
        def step(state, x):
            state = model["cell"](x, state)
            return state, model["out"](read(state))

        return lax.scan(step, start, x)[1]

    def loss(model, x, y):
        return squared(jax.vmap(example, in_axes=(None, 0))(model, x), y)

    def rewritten(paths):
        def loss(model, x, y):
            def step(state, x):
                return equation(paths, model["cell"], state, x)

            begin = jax.tree.map(lambda s: jnp.zeros((EXAMPLES, *s.shape)), start)
            states = scanned(step, begin, x)
            return squared(states @ model["out"].weight.T + model["out"].bias, y)

        return loss

    return loss, rewritten, params, draw.series()


@enter()
def equinox_gru(draw):
    def equation(paths, cell, h, x):
        a = jnp.split(x @ cell.weight_ih.T + cell.bias, 3, -1)
        u = jnp.split(paths.product(h, cell.weight_hh.T), 3, -1)
        new = jnp.tanh(a[2] + sigmoid(a[0] + u[0]) * (u[2] + cell.bias_n))
        return interpolated(paths, h, new, sigmoid(a[1] + u[1]))

    cell = eqx.nn.GRUCell(INPUTS, HIDDEN, key=jax.random.key(0))
    return equinox_problem(draw, cell, jnp.zeros(HIDDEN), lambda h: h, equation)


@enter()
def equinox_lstm(draw):
    def equation(paths, cell, state, x):
        drive = x @ cell.weight_ih.T + paths.product(state[0], cell.weight_hh.T)
        return lstm(paths, jnp.split(drive + cell.bias, 4, -1), state[1])

    cell = eqx.nn.LSTMCell(INPUTS, HIDDEN, key=jax.random.key(0))
    start = (jnp.zeros(HIDDEN), jnp.zeros(HIDDEN))
    return equinox_problem(draw, cell, start, lambda state: state[0], equation)


# ------------------------------------------------------------ flax linen


def dense(p, x):
    return x @ p["kernel"] + p.get("bias", 0)


def recurrent(paths, p, h):
    return paths.product(h, p["kernel"]) + p.get("bias", 0)


def linen_problem(draw: Draw, make, name, start, equation):
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            cell = make(param_dtype=jnp.result_type(float), name=name)
            return nn.Dense(OUTPUTS, name="out")(nn.RNN(cell)(x))

    network, (x, y) = Network(), draw.series()
    params = draw.like(jax.eval_shape(network.init, jax.random.key(0), x))

    def loss(params, x, y):
        return squared(network.apply(params, x), y)

    def rewritten(paths):
        def loss(params, x, y):
            cell, out = params["params"][name], params["params"]["out"]
            states = scanned(lambda c, x: equation(paths, cell, c, x), start, x)
            return squared(dense(out, states), y)

        return loss

    return loss, rewritten, params, (x, y)


def linen_lstm_equation(paths, p, state, x):
    (h, c), gates = state, []
    for gate in "ifgo":
        gates.append(dense(p["i" + gate], x) + recurrent(paths, p["h" + gate], h))
    return lstm(paths, gates, c)


@enter()
def linen_lstm(draw):
    def make(**more):
        return nn.LSTMCell(HIDDEN, **more)

    start = zeros(HIDDEN, HIDDEN)
    return linen_problem(draw, make, "cell", start, linen_lstm_equation)


@enter()
def linen_optimized_lstm(draw):
    """The kernels of the four gates are concatenated before the product."""

    def make(**more):
        return nn.OptimizedLSTMCell(HIDDEN, **more)

    start = zeros(HIDDEN, HIDDEN)
    return linen_problem(draw, make, "cell", start, linen_lstm_equation)


@enter()
def linen_gru(draw):
    def equation(paths, p, h, x):
        r = sigmoid(dense(p["ir"], x) + recurrent(paths, p["hr"], h))
        z = sigmoid(dense(p["iz"], x) + recurrent(paths, p["hz"], h))
        new = jnp.tanh(dense(p["in"], x) + r * recurrent(paths, p["hn"], h))
        return interpolated(paths, h, new, z)

    def make(**more):
        return nn.GRUCell(HIDDEN, **more)

    return linen_problem(draw, make, "cell", zeros(HIDDEN), equation)


@enter()
def linen_mgu(draw):
    def equation(paths, p, h, x):
        f = sigmoid(dense(p["if"], x) + recurrent(paths, p["hf"], h))
        new = jnp.tanh(dense(p["in"], x) + f * recurrent(paths, p["hn"], h))
        return interpolated(paths, h, new, f)

    def make(**more):
        return nn.MGUCell(HIDDEN, **more)

    return linen_problem(draw, make, "cell", zeros(HIDDEN), equation)


@enter(same_as=("truncated",))
def linen_simple(draw):
    def equation(paths, p, h, x):
        h = jnp.tanh(dense(p["i"], x) + recurrent(paths, p["h"], h))
        return h, h

    def make(**more):
        return nn.SimpleCell(HIDDEN, **more)

    return linen_problem(draw, make, "cell", zeros(HIDDEN), equation)


@enter()
def linen_simple_residual(draw):
    """`h' = tanh(W x + U h + h)`: the state is read by the unit itself too."""

    def equation(paths, p, h, x):
        drive = dense(p["i"], x) + recurrent(paths, p["h"], h)
        h = jnp.tanh(drive + paths.own(h))
        return h, h

    def make(**more):
        return nn.SimpleCell(HIDDEN, residual=True, **more)

    return linen_problem(draw, make, "cell", zeros(HIDDEN), equation)


# ------------------------------------------------------------ flax nnx


def nnx_problem(draw: Draw, make, start, equation):
    kind = jnp.result_type(float)

    def build():
        rngs = nnx.Rngs(0)
        cell = make(INPUTS, HIDDEN, dtype=kind, param_dtype=kind, rngs=rngs)
        out = nnx.Linear(HIDDEN, OUTPUTS, dtype=kind, param_dtype=kind, rngs=rngs)
        return nnx.List([nnx.RNN(cell, rngs=False), out])

    graph, params, rest = nnx.split(build(), nnx.Param, ...)
    params = draw.like(params)

    def loss(params, x, y):
        rnn, out = nnx.merge(graph, params, rest)
        return squared(out(rnn(x, rngs=nnx.Rngs(0))), y)

    def rewritten(paths):
        def loss(params, x, y):
            p = nnx.to_pure_dict(params)
            cell, out = p[0]["cell"], p[1]
            states = scanned(lambda c, x: equation(paths, cell, c, x), start, x)
            return squared(dense(out, states), y)

        return loss

    return loss, rewritten, params, draw.series()


@enter()
def nnx_gru(draw):
    def equation(paths, p, h, x):
        a = jnp.split(dense(p["dense_i"], x), 3, -1)
        u = jnp.split(recurrent(paths, p["dense_h"], h), 3, -1)
        new = jnp.tanh(a[2] + sigmoid(a[0] + u[0]) * u[2])
        return interpolated(paths, h, new, sigmoid(a[1] + u[1]))

    return nnx_problem(draw, nnx.GRUCell, zeros(HIDDEN), equation)


@enter()
def nnx_lstm(draw):
    def equation(paths, p, state, x):
        (h, c), gates = state, []
        for gate in ("i", "f_", "g", "o"):
            drive = dense(p["i" + gate], x)
            gates.append(drive + recurrent(paths, p["h" + gate[0]], h))
        return lstm(paths, gates, c)

    return nnx_problem(draw, nnx.LSTMCell, zeros(HIDDEN, HIDDEN), equation)


@enter(same_as=("truncated",))
def nnx_simple(draw):
    def equation(paths, p, h, x):
        h = jnp.tanh(dense(p["dense_i"], x) + recurrent(paths, p["dense_h"], h))
        return h, h

    return nnx_problem(draw, nnx.SimpleCell, zeros(HIDDEN), equation)


# ------------------------------------------------------------ haiku


def haiku_problem(draw: Draw, make, start, equation):
    """`equation(paths, params, carry, x)`, params by the names of haiku's modules."""

    def network(x):
        core = make()
        begin = core.initial_state(EXAMPLES)
        states, _ = hk.dynamic_unroll(core, x, begin, time_major=False)
        return hk.Linear(OUTPUTS, name="out")(states)

    forward, (x, y) = hk.without_apply_rng(hk.transform(network)), draw.series()
    params = draw.like(jax.eval_shape(forward.init, jax.random.key(0), x))

    def loss(params, x, y):
        return squared(forward.apply(params, x), y)

    def rewritten(paths):
        def loss(params, x, y):
            states = scanned(lambda c, x: equation(paths, params, c, x), start, x)
            return squared(affine(params["out"], states), y)

        return loss

    return loss, rewritten, params, (x, y)


def affine(p, x):
    return x @ p["w"] + p["b"]


def haiku_gru_step(paths, p, h, x):
    """The reset gate multiplies the state *before* the product.

    So it reaches the units through a synapse: it learns from the same step alone, and
    passes nothing of the carry. What an own weight passes is the path of the carry,
    with all weights and gates constant.
    """

    def gate(p, h, i):
        drive, w = x @ p["w_i"] + p["b"], jnp.split(p["w_h"], 3, -1)[i]
        return sigmoid(jnp.split(drive, 3, -1)[i] + paths.product(h, w))

    z, un = gate(p, h, 0), jnp.split(p["w_h"], 3, -1)[2]
    an = jnp.split(x @ p["w_i"] + p["b"], 3, -1)[2]
    if paths.synapse == "everything":
        return interpolated(paths, h, jnp.tanh(an + (gate(p, h, 1) * h) @ un), 1 - z)

    def step(live, h, gated):
        z, an, un, own = live
        new = jnp.tanh(an + gated @ un + own)
        return interpolated(paths, h, new, 1 - z)

    gated = gate(p, stopped(h), 1) * stopped(h)
    own = paths.own_part(stopped(gate(p, h, 1)) * h, un)
    return paths.layer(step, (z, an, un, own), h, gated)


def haiku_lstm_step(paths, p, state, x):
    """Input and state side by side in one product; only the state's part is cut."""
    (h, c) = state
    drive = paths.beside(x, h, p["w"]) + p["b"]
    i, g, f, o = jnp.split(drive, 4, -1)
    return lstm(paths, (i, f + 1, g, o), c)


@enter()
def haiku_gru(draw):
    def equation(paths, p, h, x):
        return haiku_gru_step(paths, p["gru"], h, x)

    return haiku_problem(draw, lambda: hk.GRU(HIDDEN), zeros(HIDDEN), equation)


@enter()
def haiku_lstm(draw):
    def equation(paths, p, state, x):
        return haiku_lstm_step(paths, p["lstm/linear"], state, x)

    start = zeros(HIDDEN, HIDDEN)
    return haiku_problem(draw, lambda: hk.LSTM(HIDDEN), start, equation)


@enter(same_as=("truncated",))
def haiku_vanilla(draw):
    def equation(paths, p, h, x):
        drive = affine(p["vanilla_rnn/linear"], x) + p["vanilla_rnn/linear_1"]["b"]
        h = jax.nn.relu(drive + paths.product(h, p["vanilla_rnn/linear_1"]["w"]))
        return h, h

    return haiku_problem(draw, lambda: hk.VanillaRNN(HIDDEN), zeros(HIDDEN), equation)


@enter()
def haiku_deep(draw):
    """A GRU and an LSTM, one above the other in one body."""

    def upper(paths):
        return lambda p, state, x: haiku_lstm_step(paths, p, state, x)

    def equation(paths, p, state, x):
        lower, x = haiku_gru_step(paths, p["gru"], state[0], x)
        top, x = paths.layer(upper(paths), p["lstm/linear"], state[1], x)
        return (lower, top), x

    def make():
        return hk.DeepRNN([hk.GRU(HIDDEN), hk.LSTM(6)])

    start = (zeros(HIDDEN), zeros(6, 6))
    return haiku_problem(draw, make, start, equation)
