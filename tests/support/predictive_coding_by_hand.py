"""Predictive coding of two hidden tanh layers, with every part written out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import apical
from apical.rules import PredictiveCoding
from support.by_hand import batch, layers, loss_fn

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(4, 5, 3)
NAMES = tuple(n.name for n in apical.trace(loss_fn)(PARAMS, *DATA).nodes)
free = functools.partial(PredictiveCoding, prediction="free")


def credit_of(rule, loss_fn=loss_fn, params=PARAMS, data=DATA, state=None):
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(KEY, params, *data) if state is None else state
    return jax.jit(learner)(params, state, *data)


class ByHand:
    def __init__(
        self,
        precision=(1.0, 1.0),
        copies=None,
        derivative=True,
        pull=1.0,
        fixed=False,
    ):
        self.w = [np.asarray(each["w"]) for each in PARAMS]
        self.b = [np.asarray(each["b"]) for each in PARAMS]
        self.copies = self.w if copies is None else [np.asarray(c) for c in copies]
        self.precision, self.pull, self.derivative = precision, pull, derivative
        self.x, self.y = map(np.asarray, DATA)
        self.fixed = fixed

    def start(self):
        first = np.tanh(self.x @ self.w[0] + self.b[0])
        return [first, np.tanh(first @ self.w[1] + self.b[1])]

    def errors(self, values):
        """The errors, what of each passes its nonlinearity, and the output's."""
        first, second = self.read(values)
        below = [self.x, first]
        predictions = [
            np.tanh(v @ w + b) for v, w, b in zip(below, self.w, self.b, strict=False)
        ]
        errors = [
            pi * (v - p)
            for pi, v, p in zip(self.precision, values, predictions, strict=True)
        ]
        slopes = [1 - p**2 if self.derivative else 1.0 for p in predictions]
        passed = [e * s for e, s in zip(errors, slopes, strict=True)]
        return errors, passed, self.pull * (second @ self.w[2] + self.b[2] - self.y)

    def read(self, values):
        """What predictions are made of."""
        return self.start() if self.fixed else values

    def slope(self, values):
        (first, second), passed, output = self.errors(values)
        return [
            first - passed[1] @ self.copies[1].T,
            second + output @ self.copies[2].T,
        ]

    def grads(self, values):
        _, passed, output = self.errors(values)
        below = [self.x, *self.read(values)]
        signals = [-passed[0], -passed[1], output]
        return [
            {"w": v.T @ s / len(v), "b": s.sum(axis=0) / len(v)}
            for v, s in zip(below, signals, strict=True)
        ]

    def step(self, values, rate):
        moved = zip(values, self.slope(values), strict=True)
        return [v - rate * s for v, s in moved]

    def after(self, steps, rate):
        values = self.start()
        for _ in range(steps):
            values = self.step(values, rate)
        return self.grads(values)


def linear_loss(params, x, y):
    for each in params:
        x = x @ each["w"] + each["b"]
    return 0.5 * jnp.sum((x - y) ** 2) / len(x)


def linear_equilibrium(params, x, y):
    """Where dE/dv1 = dE/dv2 = 0, and the gradients there: one linear system."""
    params, x, y = jax.tree.map(np.asarray, (params, x, y))
    (w1, b1), (w2, b2), (w3, b3) = [(each["w"], each["b"]) for each in params]
    first = x @ w1 + b1
    system = np.block(
        [
            [np.eye(len(w2)) + w2 @ w2.T, -w2],
            [-w2.T, np.eye(len(w3)) + w3 @ w3.T],
        ]
    )
    right = np.hstack([first - b2 @ w2.T, b2 + (y - b3) @ w3.T])
    v1, v2 = np.hsplit(np.linalg.solve(system.T, right.T).T, [len(w2)])
    errors = v1 - first, v2 - v1 @ w2 - b2, y - v2 @ w3 - b3
    grads = [
        {"w": -below.T @ error / len(x), "b": -error.sum(axis=0) / len(x)}
        for below, error in zip((x, v1, v2), errors, strict=True)
    ]
    return (v1, v2), grads
