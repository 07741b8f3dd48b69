"""Two hidden tanh layers that settle, in numpy, with every equation written out."""

from typing import Any, NamedTuple

import jax
import numpy as np

import apical
from support.by_hand import batch, layers


def weights() -> tuple[Any, tuple[Any, Any]]:
    """Parameters and a batch; made where numbers have 64 bits, they have 64.

    Half of the usual size: there is one state to settle in, smooth in a nudge.
    """
    params = layers(5, 7, 6, 3)
    return [{**p, "w": p["w"] / 2} for p in params], batch(4, 5, 3)


def second(x, y):
    del x
    return y


def credit_of(rule, loss_fn, params, args, **keywords):
    """One call of a learner, compiled."""
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    state = learner.init(jax.random.key(0), params, *args)
    return jax.jit(learner)(params, state, *args)


class State(NamedTuple):
    """Two layers of units and the linear output, of every example."""

    one: Any
    two: Any
    out: Any


class Network:
    """The network of `weights()`; the feedback to layer two is passed to each step."""

    def __init__(self, gain=1.0, rate=1.0, output=lambda z: z):
        params, data = weights()
        self.w = [np.asarray(each["w"]) for each in params]
        self.b = [np.asarray(each["b"]) for each in params]
        self.x, self.y = map(np.asarray, data)
        self.gain, self.rate, self.output = gain, rate, output

    def read_out(self, two):
        return self.output(two @ self.w[2] + self.b[2])

    def zeros(self):
        return np.zeros((4, 7)), np.zeros((4, 6))

    def settle(self, start, steps, back):
        one, two = start
        for _ in range(steps):
            drives = (
                self.x @ self.w[0] + self.b[0] + self.gain * two @ self.w[1].T,
                one @ self.w[1] + self.b[1] + back(two) @ self.w[2].T,
            )
            moved = [np.tanh(z) for z in drives]
            one = (1 - self.rate) * one + self.rate * moved[0]
            two = (1 - self.rate) * two + self.rate * moved[1]
        return State(one, two, self.read_out(two))

    def products(self, signals, below):
        """A gradient: each layer's signal times what is below, the mean of examples."""
        return [
            {"w": v.T @ s / 4, "b": s.sum(axis=0) / 4}
            for v, s in zip(below, signals, strict=True)
        ]

    def nudged(self, nudge):
        """The loss pulls at layer two."""
        return lambda two: -nudge * (self.read_out(two) - self.y)

    def clamped(self, held):
        """The output is held at a value, and sends that back."""
        return lambda two: self.gain * held

    def free(self, two):
        """The output sends back its own value."""
        return self.gain * self.read_out(two)


def combined(trees, factors):
    """A weighted sum of gradients."""
    return jax.tree.map(
        lambda *leaves: sum(f * x for f, x in zip(factors, leaves, strict=True)), *trees
    )
