"""Two published runs of e-prop, as losses that a user would write.

The numbers are the losses that the reference implementation of Bellec et al. (2020)
reached in five iterations from drawn weights and inputs, as kept in NEST's tests: a
regression by LIF units, and evidence accumulation by LIF and adaptive ones, with random
feedback in place of the read-out's weights. Only numbers and the order of draws are
taken from there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax


class Golden(NamedTuple):
    """A run of five iterations.

    Attributes:
        loss_fn: `loss_fn(params, x, y) -> (loss, task)`; the second is what is kept.
        twin: the same with the recurrence cut: its gradient is e-prop's, symmetric.
        params: weights "in", "rec" and "out", `(from, to)`.
        feedback: what stands in place of "out" on the way back, of the same shape.
        batches: `(x, y)` of each iteration, one example each on axis 0.
        losses: the published value of `task` at each iteration.
        optimizer: how gradients change the weights.
        by_hand: `by_hand(params, feedback, x, y) -> (task, gradients)` in numpy.
    """

    loss_fn: Callable[..., Any]
    twin: Callable[..., Any]
    params: dict[str, jax.Array]
    feedback: jax.Array
    batches: list[tuple[jax.Array, jax.Array]]
    losses: tuple[float, ...]
    optimizer: optax.GradientTransformation
    by_hand: Callable[..., Any]


def losses_of(golden: Golden, credit: Callable[..., Any]) -> list[float]:
    """Losses of the run whose gradients are `credit(params, x, y) -> (task, grads)`.

    The weights from a unit to itself stay zero: the loss masks them.
    """
    params, state, losses = golden.params, golden.optimizer.init(golden.params), []
    for x, y in golden.batches:
        loss, grads = credit(params, x, y)
        losses.append(float(loss))
        updates, state = golden.optimizer.update(grads, state)
        params = optax.apply_updates(params, updates)
    return losses


def single(array: np.ndarray) -> np.ndarray:
    """Weights as they were stored: rounded to 32 bits."""
    return array.astype(np.float32).astype(np.float64)


def surrogate(threshold: float, peak: float = 0.3) -> Callable[[jax.Array], jax.Array]:
    """A step with the derivative `(γ/θ) max(0, 1 - |u/θ|)` of Bellec et al. (2020)."""

    @jax.custom_jvp
    def spike(u):
        return (u > 0).astype(u.dtype)

    @spike.defjvp
    def spike_jvp(primals, tangents):
        (u,), (du,) = primals, tangents
        slope = peak / threshold * jnp.maximum(0, 1 - jnp.abs(u / threshold))
        return spike(u), slope * du

    return spike


def adam_as_published(rate: float) -> optax.GradientTransformation:
    """Adam whose small constant is added before the correction of the bias."""

    def init(params):
        nothing = jax.tree.map(jnp.zeros_like, params)
        return 0, nothing, nothing

    def update(grads, state, params=None):
        count, mean, square = state
        count += 1
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, square, grads)
        size = -rate * (1 - 0.999**count) ** 0.5 / (1 - 0.9**count)
        steps = jax.tree.map(lambda m, v: size * m / (v**0.5 + 1e-8), mean, square)
        return steps, (count, mean, square)

    return optax.GradientTransformation(init, update)


def unchanged(x):
    return x


# ------------------------------------------------------------ regression, LIF


def regression() -> Golden:
    """100 LIF units follow a sum of four sines: 1,000 steps, plain gradient descent."""
    draws = np.random.RandomState(1)
    units, steps = 100, 1000
    params = {
        "in": single(draws.randn(units, units) / 10),
        "rec": single(draws.randn(units, units) / 10),
        "out": single(draws.randn(units, 1) / 10),
    }
    np.fill_diagonal(params["rec"], 0)
    feedback = single(draws.randn(units, 1) / 10)
    x = (draws.rand(steps, units) < 0.05).astype(float)
    x[0] = 0
    amplitudes = draws.uniform(0.5, 2, 4)
    phases = draws.uniform(0, 2 * np.pi, 4)
    y = np.zeros(steps)
    for size, phase, period in zip(
        amplitudes, phases, (1000, 500, 333, 200), strict=True
    ):
        turns = 2 * np.pi * (steps // period)
        y += size * np.sin(np.linspace(phase, phase + turns, steps))
    y -= y[0]
    y /= np.max(np.abs(y))

    spike, apart = surrogate(0.03), 1 - np.eye(units)
    keep = float(np.exp(-1 / 30))

    def loss_of(cut):
        def loss_fn(params, x, y):
            def step(carry, x):
                v, z, out = carry
                drive = x @ params["in"] + cut(z) @ (params["rec"] * apart)
                v = keep * v + (1 - keep) * drive - 0.03 * lax.stop_gradient(z)
                z = spike(v - 0.03)
                out = keep * out + (1 - keep) * (z @ params["out"])
                return (v, z, out), (z, out)

            zero = jnp.zeros((len(x), units))
            start = zero, zero, jnp.zeros((len(x), 1))
            _, (z, out) = lax.scan(step, start, jnp.swapaxes(x, 0, 1))
            task = 0.5 * jnp.sum((jnp.swapaxes(out, 0, 1) - y) ** 2) / len(x)
            rate = jnp.mean(z, axis=0)
            return task + 0.5 * 300 * jnp.sum((rate - 0.01) ** 2) / len(x), task

        return loss_fn

    def by_hand(params, feedback, x, y):
        net = Units(keep, 1 - keep, 0.03, 0, 0.0, 0, keep, 1 - keep)
        x, y = np.asarray(x)[0], np.asarray(y)[0]
        z, out, slope = forward(net, params, x)
        error = out - y
        regular = 300 * (z.mean(axis=0) - 0.01) / len(x)
        grads = backward(net, feedback, x, z, slope, error, regular)
        return 0.5 * np.sum(error**2), grads

    losses = (101.964356999041, 103.466731126205, 103.340607074771)
    losses += (103.680244037686, 104.412775748752)
    batch = jnp.asarray(x[None]), jnp.asarray(y[None, :, None])
    return Golden(
        loss_of(unchanged),
        loss_of(lax.stop_gradient),
        jax.tree.map(jnp.asarray, params),
        jnp.asarray(feedback),
        5 * [batch],
        losses,
        optax.sgd(1e-4),
        by_hand,
    )


# ------------------------------------------------------------ evidence, adaptive LIF


STEPS, RECALL = 2250, 150


def evidence() -> Golden:
    """50 LIF and 50 adaptive units count cues on two sides, by Adam.

    Seven cues of 100 steps, 50 apart, then 1,050 of waiting, then 150 of recall.
    """
    draws = np.random.RandomState(1)
    units = 100
    params = {
        "in": single(draws.randn(40, units) / 40**0.5),
        "rec": single(draws.randn(units, units) / 10),
    }
    np.fill_diagonal(params["rec"], 0)
    limit = (3 / ((units + 2) / 2)) ** 0.5
    params["out"] = single(draws.uniform(-limit, limit, (units, 2)))
    feedback = single(draws.randn(units, 2))
    batches = [cues(draws) for _ in range(5)]

    keep, keep_a = float(np.exp(-1 / 20)), float(np.exp(-1 / 2000))
    beta = np.repeat([0, 1.7 * (1 - keep_a) / (1 - keep)], units // 2)
    spike, apart = surrogate(0.6), 1 - np.eye(units)

    def loss_of(cut):
        def loss_fn(params, x, y):
            def step(carry, x):
                v, a, z, rest, out = carry
                a = keep_a * a + z
                drive = x @ params["in"] + cut(z) @ (params["rec"] * apart)
                v = keep * v + drive - 0.6 * lax.stop_gradient(z)
                z = jnp.where(rest > 0, 0.0, spike(v - 0.6 - beta * a))
                rest = jnp.where(z > 0, 4, jnp.maximum(rest - 1, 0))
                out = keep * out + (1 - keep) * (z @ params["out"])
                return (v, a, z, rest, out), (z, out)

            zero = jnp.zeros((len(x), units))
            start = (zero, zero, zero, zero.astype(int), jnp.zeros((len(x), 2)))
            _, (z, out) = lax.scan(step, start, jnp.swapaxes(x, 0, 1))
            logs = jax.nn.log_softmax(jnp.swapaxes(out, 0, 1)[:, -RECALL:])
            task = -jnp.mean(jnp.take_along_axis(logs, y[:, None, None], axis=-1))
            rate = jnp.mean(z, axis=0)
            return task + jnp.sum((rate - 0.01) ** 2) / len(x), task

        return loss_fn

    def by_hand(params, feedback, x, y):
        net = Units(keep, 1.0, 0.6, 4, beta, keep_a, keep, 1 - keep)
        x, label = np.asarray(x)[0], int(y[0])
        z, out, slope = forward(net, params, x)
        odds = np.exp(out - out.max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        error = (odds - np.eye(2)[label]) / RECALL
        error[:-RECALL] = 0
        regular = 2 * (z.mean(axis=0) - 0.01) / len(x)
        grads = backward(net, feedback, x, z, slope, error, regular)
        return -np.mean(np.log(odds[-RECALL:, label])), grads

    losses = (0.741152550006, 0.740388187700, 0.665785233177)
    losses += (0.663644193322, 0.729428962844)
    return Golden(
        loss_of(unchanged),
        loss_of(lax.stop_gradient),
        jax.tree.map(jnp.asarray, params),
        jnp.asarray(feedback),
        batches,
        losses,
        adam_as_published(5e-3),
        by_hand,
    )


def cues(draws: np.random.RandomState) -> tuple[jax.Array, jax.Array]:
    """One example: spikes of 40 inputs, and the side with more cues."""
    pair = np.array([0.3, 0.7], np.float32)
    flip = draws.choice([0, 1], 1)[0]
    odds = pair[[flip, 1 - flip]]
    sides = draws.choice([0, 1], 7, p=odds)
    chance = np.zeros((STEPS, 40))
    for index, side in enumerate(sides):
        start = 150 * index + 50
        chance[start : start + 100, 10 * side : 10 * side + 10] = 0.04
    chance[-RECALL:, 20:30] = 0.04
    chance[:, 30:] = 0.01
    x = (chance > draws.rand(*chance.shape)).astype(float)
    x[0] = 0
    return jnp.asarray(x[None]), jnp.asarray([int(sides.sum() > 3)])


# ------------------------------------------------------------ e-prop in numpy


class Units(NamedTuple):
    """Constants: `v' = keep v + gain drive - θ z`, threshold `θ + beta a`."""

    keep: float
    gain: float
    threshold: float
    rest: int
    beta: Any
    keep_a: float
    keep_out: float
    gain_out: float


def forward(net: Units, params, x):
    """Spikes, outputs and surrogate slopes at each step."""
    w = {name: np.asarray(each) for name, each in params.items()}
    v, a, z = np.zeros((3, w["rec"].shape[0]))
    rest, out = np.zeros(len(v), int), np.zeros(w["out"].shape[1])
    found = []
    for row in x:
        a = net.keep_a * a + z
        drive = net.gain * (row @ w["in"] + z @ w["rec"])
        v = net.keep * v + drive - net.threshold * z
        above = v - net.threshold - net.beta * a
        near = np.maximum(0, 1 - np.abs(above / net.threshold))
        slope = np.where(rest > 0, 0, 0.3 / net.threshold * near)
        z = ((above > 0) & (rest == 0)).astype(float)
        rest = np.where(z > 0, net.rest, np.maximum(rest - 1, 0))
        out = net.keep_out * out + net.gain_out * (z @ w["out"])
        found.append((z, out, slope))
    return map(np.array, zip(*found, strict=True))


def backward(net: Units, feedback, x, z, slope, error, regular):
    """Gradients: learning signals times eligibility traces, summed over time.

    The read-out's filter is moved from the traces to the errors, which is the same sum.
    """
    seen, total = np.zeros_like(error), np.zeros(error.shape[1])
    for t in reversed(range(len(error))):
        total = net.keep_out * total + error[t]
        seen[t] = net.gain_out * total
    signal = seen @ np.asarray(feedback).T + regular

    def traced(sent):
        """`Σ_t signal_t ψ_t (ε_v - beta ε_a)` for what came in at each step."""
        grads = np.zeros((sent.shape[1], z.shape[1]))
        adapted, potential = np.zeros_like(grads), np.zeros(sent.shape[1])
        before = np.zeros(z.shape[1])
        for t, arrived in enumerate(sent):
            adapted = (net.keep_a - before * net.beta) * adapted
            adapted += np.outer(potential, before)
            potential = net.keep * potential + net.gain * arrived
            eligible = potential[:, None] - net.beta * adapted
            grads += signal[t] * slope[t] * eligible
            before = slope[t]
        return grads

    recurrent = traced(np.concatenate([np.zeros((1, z.shape[1])), z[:-1]]))
    np.fill_diagonal(recurrent, 0)
    return {"in": traced(x), "rec": recurrent, "out": z.T @ seen}
