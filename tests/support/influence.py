"""RTRL and its masks by brute force: dense Jacobians of one step, carried forwards.

`P_t = J_t P_{t-1} + I_t` is the influence of each parameter on each entry of the state,
and the gradient is the sum over time of `(∂l_t/∂s_t) P_t` and of what the loss of a
step takes from the parameters directly. SnAp-n keeps the entries of P that a parameter
reaches within n steps. Nothing here is differentiated through time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from support.online_twins import (
    EPROP,
    EXAMPLES,
    HIDDEN,
    INPUTS,
    OUTPUTS,
    TIME,
    Draw,
    spike,
)


class Cell(NamedTuple):
    """A recurrent cell with a read-out, and what brute force must know of it.

    Attributes:
        step: `step(params, state, x, product) -> state`, `(..., states * units)`, its
            entry `i` in unit `i % units`; `product` is that of recurrent synapses.
        read: what the read-out "out" reads of a state.
        params: those of the cell and the read-out.
        states: how many states a unit has.
    """

    step: Callable[..., Any]
    read: Callable[..., Any]
    params: dict[str, jax.Array]
    states: int

    @property
    def args(self) -> tuple[jax.Array, jax.Array]:
        """Inputs and targets, `(examples, time, width)`."""
        return Draw(99).series()

    def loss_fn(self, params: Any, x: jax.Array, y: jax.Array, product=jnp.matmul):
        """The loss as a user writes it."""

        def body(state, x):
            state = self.step(params, state, x, product)
            return state, self.read(state) @ params["out"]

        start = jnp.zeros((len(x), self.states * HIDDEN))
        _, out = lax.scan(body, start, jnp.swapaxes(x, 0, 1))
        return jnp.mean((jnp.swapaxes(out, 0, 1) - y) ** 2)


def rtrl(cell: Cell) -> Any:
    """The gradient with the whole influence: that of backpropagation."""
    return carried_forwards(cell, lambda through, immediate: True)


def snap(cell: Cell, order: int) -> Any:
    """SnAp of Menick et al. (2021): only what a parameter reaches in `order` steps.

    What is reached are units, with all their states. By single states, order 1 would
    lose the adaptation of a spiking unit, which a weight reaches one step later.
    """

    def kept(through, immediate):
        unit = np.arange(cell.states * HIDDEN) % HIDDEN
        among = unit[:, None] == unit[None, :]
        mask = among @ immediate
        for _ in range(order - 1):
            mask = mask | among @ through @ mask
        return mask

    return carried_forwards(cell, kept)


def own_weight(cell: Cell) -> Any:
    """What a unit passes back to itself alone, by all paths, its own weight's too.

    That is SnAp-1 for a parameter of one unit. A parameter of several units reaches
    all of them at once, so SnAp-1 masks nothing of it, and this does.
    """
    unit = np.arange(cell.states * HIDDEN) % HIDDEN
    same = unit[:, None] == unit[None, :]
    return carried_forwards(cell, lambda through, immediate: True, passed=same)


def eprop(cell: Cell) -> Any:
    """Nothing passes through a recurrent synapse; a unit's own path is exact."""
    return carried_forwards(
        cell, lambda through, immediate: True, product=EPROP.product
    )


def carried_forwards(cell: Cell, kept, passed: Any = True, product=jnp.matmul) -> Any:
    """The gradient where P is `kept(J, I)` alone and J is `passed` alone.

    `kept` gets which entries of J and of I differ from zero, from drawn states.
    """
    theta, tree = ravel_pytree(cell.params)
    x, y = cell.args

    def advance(theta, state, x):
        return cell.step(tree(theta), state, x, product)

    def loss_after(theta, state, y):
        out = cell.read(state) @ tree(theta)["out"]
        return jnp.mean((out - y) ** 2) / (EXAMPLES * TIME)

    each = jax.jit(jax.vmap(advance, (None, 0, 0)))
    jacobians = jax.jit(jax.vmap(jax.jacfwd(advance, (0, 1)), (None, 0, 0)))
    slopes = jax.jit(jax.vmap(jax.grad(loss_after, (0, 1)), (None, 0, 0)))

    size = cell.states * HIDDEN
    drawn = jacobians(theta, Draw(98).normal(EXAMPLES, size), x[:, 0])
    immediate, through = (np.any(np.asarray(j) != 0, axis=0) for j in drawn)
    mask = kept(through, immediate)

    state, total = jnp.zeros((EXAMPLES, size)), np.zeros(theta.size)
    influence = np.zeros((EXAMPLES, size, theta.size))
    for t in range(TIME):
        immediate, through = map(np.asarray, jacobians(theta, state, x[:, t]))
        influence = (passed * through) @ influence + immediate
        influence = mask * influence
        state = each(theta, state, x[:, t])
        direct, teaching = map(np.asarray, slopes(theta, state, y[:, t]))
        total += direct.sum(axis=0) + np.einsum("bs,bsp->p", teaching, influence)
    return tree(jnp.asarray(total))


# ------------------------------------------------------------ cells


def readout(draw: Draw, **more: jax.Array) -> dict[str, jax.Array]:
    return more | {"out": draw.weight(HIDDEN, OUTPUTS)}


def everything(state):
    return state


def vanilla() -> Cell:
    draw = Draw(200)

    def step(p, h, x, product):
        return jnp.tanh(x @ p["in"] + product(h, p["rec"]) + p["b"])

    weights = {"in": draw.weight(INPUTS, HIDDEN), "rec": draw.weight(HIDDEN, HIDDEN)}
    return Cell(step, everything, readout(draw, **weights, b=draw.normal(HIDDEN)), 1)


def leaky() -> Cell:
    """Each unit is driven by itself and by the one before it, in a ring."""
    draw = Draw(201)
    exists = jnp.eye(HIDDEN) + jnp.roll(jnp.eye(HIDDEN), 1, axis=1)

    def step(p, u, x, product):
        rec = p["rec"] * exists
        return 0.8 * u + x @ p["in"] + product(jnp.tanh(u), rec) + p["b"]

    weights = {"in": draw.weight(INPUTS, HIDDEN), "rec": draw.weight(HIDDEN, HIDDEN)}
    return Cell(step, jnp.tanh, readout(draw, **weights, b=draw.normal(HIDDEN)), 1)


def gru() -> Cell:
    draw = Draw(202)

    def step(p, h, x, product):
        a, u = x @ p["in"] + p["b"], product(h, p["rec"])
        (ar, az, an), (ur, uz, un) = jnp.split(a, 3, -1), jnp.split(u, 3, -1)
        update = jax.nn.sigmoid(az + uz)
        new = jnp.tanh(an + jax.nn.sigmoid(ar + ur) * un)
        return new + update * (h - new)

    weights = {"in": draw.weight(INPUTS, 3 * HIDDEN), "b": draw.normal(3 * HIDDEN)}
    weights["rec"] = draw.weight(HIDDEN, 3 * HIDDEN)
    return Cell(step, everything, readout(draw, **weights), 1)


def lstm() -> Cell:
    """State `[h, c]`."""
    draw = Draw(203)

    def step(p, state, x, product):
        h, c = state[..., :HIDDEN], state[..., HIDDEN:]
        gates = x @ p["in"] + product(h, p["rec"]) + p["b"]
        i, f, g, o = jnp.split(gates, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jnp.concatenate([jax.nn.sigmoid(o) * jnp.tanh(c), c], -1)

    weights = {"in": draw.weight(INPUTS, 4 * HIDDEN), "b": draw.normal(4 * HIDDEN)}
    weights["rec"] = draw.weight(HIDDEN, 4 * HIDDEN)
    return Cell(step, lambda s: s[..., :HIDDEN], readout(draw, **weights), 2)


def alif() -> Cell:
    """State `[v, a, z]`; the read-out reads the spike. Reset has no derivative."""
    draw = Draw(204)

    def step(p, state, x, product):
        v, a, z = jnp.split(state, 3, -1)
        a = 0.95 * a + z
        decay = jax.nn.sigmoid(p["tau"])
        drive = x @ p["in"] + product(z, p["rec"]) + p["b"]
        v = decay * v + drive - lax.stop_gradient(z)
        return jnp.concatenate([v, a, spike(v - 1 - 0.3 * a)], -1)

    weights = {"in": draw.weight(INPUTS, HIDDEN, size=2), "b": draw.normal(HIDDEN)}
    weights["rec"] = draw.weight(HIDDEN, HIDDEN)
    weights["tau"] = draw.normal(HIDDEN, shift=1.5)
    return Cell(step, lambda s: s[..., 2 * HIDDEN :], readout(draw, **weights), 3)


def lif_of_one_decay() -> Cell:
    """State `[v, z]`; one decay for all units, a parameter of several units."""
    draw = Draw(205)

    def step(p, state, x, product):
        v, z = jnp.split(state, 2, -1)
        drive = x @ p["in"] + product(z, p["rec"])
        v = jax.nn.sigmoid(p["tau"]) * v + drive - lax.stop_gradient(z)
        return jnp.concatenate([v, spike(v - 1)], -1)

    weights = {"in": draw.weight(INPUTS, HIDDEN, size=2), "tau": draw.normal(shift=1.5)}
    weights["rec"] = draw.weight(HIDDEN, HIDDEN)
    return Cell(step, lambda s: s[..., HIDDEN:], readout(draw, **weights), 2)


CELLS = {
    make.__name__: make for make in (vanilla, leaky, gru, lstm, alif, lif_of_one_decay)
}
