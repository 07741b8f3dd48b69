"""Cases of loops in series and side by side, and of what comes before a loop."""

import jax
import jax.numpy as jnp
from jax import lax

from ._case import (
    EXAMPLES,
    HIDDEN,
    INPUTS,
    OUTPUTS,
    TIME,
    by_time,
    enter,
    squared,
    zeros,
)
from ._composed import leaky_layer, leaky_params, user_leaky
from ._rates import gru_params, gru_step


@enter()
def scans_in_series(draw):
    """Encoder, GRU, a dense layer, leaky units, and the last potential is read."""

    def gru(p, h, x):
        h = gru_step(p, h, x)
        return h, h

    def user(p, x, y):
        x = jax.nn.relu(by_time(x) @ p["encoder"] + p["bias"])
        _, x = lax.scan(lambda h, x: gru(p["gru"], h, x), zeros(HIDDEN), x)
        x = jnp.tanh(x @ p["between"])
        last, _ = lax.scan(lambda u, x: user_leaky(p["top"], u, x), zeros(HIDDEN), x)
        return squared(last @ p["out"], y[:, -1])

    def rewritten(paths):
        def lower(p, h, x):
            h = gru_step(p, h, x, paths)
            return h, h

        def top(p, u, x):
            u, _ = leaky_layer(paths)(p, u, x)
            return u, u

        def loss(p, x, y):
            x = jax.nn.relu(by_time(x) @ p["encoder"] + p["bias"])
            x = lax.scan(
                lambda h, x: paths.layer(lower, p["gru"], h, x), zeros(HIDDEN), x
            )[1]
            x = jnp.tanh(x @ p["between"])
            states = lax.scan(
                lambda u, x: paths.layer(top, p["top"], u, x), zeros(HIDDEN), x
            )[1]
            return squared(states[-1] @ p["out"], y[:, -1])

        return loss

    params = {"encoder": draw.weight(INPUTS, 6), "bias": draw.normal(6, size=0.3)}
    cell = gru_params(draw)
    cell.pop("out")
    params["gru"] = cell | {"in": draw.weight(6, 3 * HIDDEN)}
    params["between"] = draw.weight(HIDDEN, 6)
    params["top"] = leaky_params(draw, 6, HIDDEN)
    params["out"] = draw.weight(HIDDEN, OUTPUTS)
    return user, rewritten, params, draw.series()


@enter()
def projected_before_the_loop(draw):
    """The input's product is computed for all steps before the loop.

    The drive enters units directly, so the projection learns as in the loop's body.
    """

    def step(p, u, drive):
        u = 0.8 * u + drive + jnp.tanh(u) @ p["rec"]
        return u, jnp.tanh(u) @ p["out"]

    def user(p, x, y):
        drive = by_time(x) @ p["in"] + p["b"]
        _, out = lax.scan(lambda u, x: step(p, u, x), zeros(HIDDEN), drive)
        return squared(by_time(out), y)

    def rewritten(paths):
        def step(p, u, drive):
            u = 0.8 * paths.own(u) + drive + paths.product(jnp.tanh(u), p["rec"])
            return u, jnp.tanh(u)

        def loss(p, x, y):
            drive = by_time(x) @ p["in"] + p["b"]
            _, sent = lax.scan(lambda u, x: step(p, u, x), zeros(HIDDEN), drive)
            return squared(by_time(sent) @ p["out"], y)

        return loss

    params = leaky_params(draw, INPUTS, HIDDEN)
    params["out"] = draw.weight(HIDDEN, OUTPUTS)
    return user, rewritten, params, draw.series()


@enter()
def bidirectional(draw):
    """Two loops over the same input, one of them from the end."""

    def run(cell, reverse, p, x):
        scanned = lax.scan(
            lambda h, x: (cell(p, h, x),) * 2, zeros(HIDDEN), by_time(x), None, reverse
        )
        return scanned[1]

    def loss_of(cell):
        def loss(p, x, y):
            there, back = run(cell, False, p["a"], x), run(cell, True, p["b"], x)
            out = jnp.concatenate([there, back], -1) @ p["out"]
            return squared(by_time(out), y)

        return loss

    def rewritten(paths):
        return loss_of(lambda p, h, x: gru_step(p, h, x, paths))

    params = {"a": gru_params(draw), "b": gru_params(draw)}
    for cell in params.values():
        cell.pop("out")
    params["out"] = draw.weight(2 * HIDDEN, OUTPUTS)
    user = loss_of(lambda p, h, x: gru_step(p, h, x))
    return user, rewritten, params, draw.series()


@enter()
def embedded(draw):
    """Words by number: the table is looked up before the loop."""

    def user(p, ids, y):
        x = by_time(p["table"][ids])
        _, sent = lax.scan(lambda u, x: user_leaky(p["cell"], u, x), zeros(HIDDEN), x)
        return squared(by_time(sent) @ p["out"], y)

    def rewritten(paths):
        layer = leaky_layer(paths)

        def loss(p, ids, y):
            def step(u, x):
                return paths.layer(layer, p["cell"], u, x)

            _, sent = lax.scan(step, zeros(HIDDEN), by_time(p["table"][ids]))
            return squared(by_time(sent) @ p["out"], y)

        return loss

    params = {"table": draw.normal(6, INPUTS), "out": draw.weight(HIDDEN, OUTPUTS)}
    params["cell"] = leaky_params(draw, INPUTS, HIDDEN)
    ids = jnp.arange(EXAMPLES * TIME).reshape(EXAMPLES, TIME) ** 2 % 6
    return user, rewritten, params, (ids, draw.series()[1])
