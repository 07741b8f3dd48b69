"""Spiking units with escape noise that learn classes from a reward alone.

    v_t = d v_{t-1} + x_t W,     p_t = logistic(b (v_t - 1)),     P(z_t = 1) = p_t

The units of each class vote; the class with most spikes is the answer, and the reward
is 1 if it is right, else 0. Learning sees no label. A synapse keeps in its trace

    reward-modulated STDP    h = (x trace) z - (z trace) x
    score function           h = (x trace) (z - p)       d log P(z) / dW = b sum_t h_t

with the trace of the input as the membrane filters it. The second gives the gradient of
the expected reward (Xie & Seung 2004).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import apical
from apical import rules
from apical.claims.spiking._winner_take_all import Parts, encoded, spike

CLASSES, BATCH = 10, 32
LEAK, SLOPE = 0.8, 4.0
TAU = -1 / math.log(LEAK)  # of the membrane, in steps
_BASELINE_RATE = 0.05


class Learning(NamedTuple):
    """A way to learn from rewards.

    Attributes:
        pairing: what the two ends of a synapse leave in its trace.
        surprise: whether the unit's end is z - p in place of its spikes z.
    """

    pairing: rules.AllPairs | rules.PresynapticTrace
    surprise: bool

    @property
    def rule(self) -> rules.ThreeFactor:
        """The rule: one reward at the end, less a running mean of all rewards."""
        reward = rules.Reward("reward", baseline_rate=_BASELINE_RATE)
        return rules.ThreeFactor(self.pairing, reward, math.inf)


REWARDED_STDP = Learning(rules.AllPairs(1.0, 1.0, TAU, TAU), surprise=False)
SCORE_FUNCTION = Learning(rules.PresynapticTrace(1.0, TAU), surprise=True)


def loss_of(surprise: bool) -> Callable[..., Any]:
    """The loss function: minus the mean reward, smoothed so that it has a derivative.

    Args:
        surprise: whether the node behind the synapse is z - p in place of z.
    """

    def loss_fn(
        weights: jax.Array, noise: jax.Array, x: jax.Array, y: jax.Array
    ) -> Any:
        """`noise`, `x` are `[steps, examples, ...]`; `aux` has the reward of each."""
        units = weights.shape[1]

        def step(v: jax.Array, now: Any) -> Any:
            x, noise = now
            v = LEAK * v + x @ weights
            p = jax.nn.sigmoid(SLOPE * (v - 1))
            z = spike(p - noise)
            if surprise:
                return v, apical.node(z - p, "surprise") + p
            return v, apical.node(z, "spikes")

        start = jnp.zeros((x.shape[1], units), weights.dtype)
        _, z = jax.lax.scan(step, start, (x, noise))
        votes = jnp.sum(z, axis=0).reshape(-1, CLASSES, units // CLASSES).sum(axis=-1)
        right = jnp.argmax(jax.lax.stop_gradient(votes), axis=-1) == y
        chance = jax.nn.softmax(votes)[jnp.arange(len(y)), y]
        return -jnp.mean(chance), {"reward": right.astype(weights.dtype)}

    return loss_fn


def trained(
    learning: Learning, train: Parts, units: int, steps: int, epochs: int
) -> Callable[[int, float], Iterator[jax.Array]]:
    """A function of a seed and a step size: the weights before and after each epoch."""
    learner = apical.value_and_grad(
        loss_of(learning.surprise), learning.rule, has_aux=True, batch_axes=(1, 1, 0)
    )
    pixels, batches = train.x.shape[1], len(train.x) // BATCH
    shapes = (
        jnp.zeros((steps, BATCH, units)),
        jnp.zeros((steps, BATCH, pixels)),
        jnp.zeros(BATCH, int),
    )
    begun = learner.init(jax.random.key(0), jnp.zeros((pixels, units)), *shapes)

    @jax.jit
    def update(weights: Any, state: Any, key: Any, x: Any, y: Any, rate: Any) -> Any:
        first, second = jax.random.split(key)
        noise = jax.random.uniform(first, (steps, BATCH, units))
        credit = learner(weights, state, noise, encoded(second, x, steps), y)
        return weights - rate * credit.grads, credit.state

    def run(seed: int, rate: float) -> Iterator[jax.Array]:
        key = jax.random.key(seed)
        weights = initial_weights(key, pixels, units)
        yield weights
        rng, state, done = np.random.default_rng(seed), begun, 0
        for _ in range(epochs):
            order = rng.permutation(len(train.x))
            for first in range(0, batches * BATCH, BATCH):
                chosen = order[first : first + BATCH]
                left = 1 - done / (epochs * batches)
                now = jax.random.fold_in(key, done)
                x, y = train.x[chosen], train.y[chosen]
                weights, state = update(weights, state, now, x, y, rate * left)
                done += 1
            yield weights

    return run


def initial_weights(key: jax.Array, pixels: int, units: int) -> jax.Array:
    """Weights at which units spike in about every fourth step."""
    return jax.random.uniform(key, (pixels, units)) * 2 * (1 - LEAK) / (0.1 * pixels)


def mean_reward(weights: jax.Array, part: Parts, steps: int) -> float | None:
    """The mean reward on a part; None where the weights are not finite."""
    if not bool(jnp.all(jnp.isfinite(weights))):
        return None
    found = []
    for first in range(0, len(part.x), 250):
        x, y = part.x[first : first + 250], part.y[first : first + 250]
        key = jax.random.fold_in(jax.random.key(1), first)
        found.append(np.asarray(_rewards(weights, key, x, y, steps)))
    return float(np.mean(np.concatenate(found)))


def _of_part(weights: Any, key: Any, x: Any, y: Any, steps: int) -> jax.Array:
    first, second = jax.random.split(key)
    noise = jax.random.uniform(first, (steps, len(x), weights.shape[1]))
    loss = loss_of(surprise=False)(weights, noise, encoded(second, x, steps), y)
    return loss[1]["reward"]


_rewards = jax.jit(_of_part, static_argnums=4)
