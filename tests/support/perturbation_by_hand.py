"""Perturbation of two hidden layers, written by hand in numpy; and statistics."""

from itertools import pairwise

import jax
import numpy as np

SHAPES = [(5, 7), (7, 6), (6, 3)]


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def weights(shapes=SHAPES):
    return [
        {"b": 0.1 * numbers(i, n), "w": numbers(10 + i, m, n) / m**0.5}
        for i, (m, n) in enumerate(shapes)
    ]


def chain(*widths):
    return weights(list(pairwise(widths)))


X, Y = numbers(20, 4, 5), numbers(21, 4, 3)


def losses(params, x=X, y=Y, value=(0.0, 0.0), drive=(0.0, 0.0), output=0.0):
    """Each example's loss, with noise added to values, drives and the output."""
    for each, v, d in zip(params[:-1], value, drive, strict=True):
        x = np.tanh(x @ each["w"] + each["b"] + d) + v
    x = x @ params[-1]["w"] + params[-1]["b"] + output
    return 0.5 * np.sum((x - y) ** 2, axis=1)


def pulled(params, deltas, x=X, derivative=True):
    """The local products of teaching signals at two hidden layers and the output."""
    values = [x]
    for each in params[:-1]:
        values.append(np.tanh(values[-1] @ each["w"] + each["b"]))
    slopes = [1 - v**2 if derivative else 1.0 for v in values[1:]] + [1.0]
    found = []
    for below, slope, delta in zip(values, slopes, deltas, strict=True):
        found.append({"b": (slope * delta).sum(axis=0), "w": below.T @ (slope * delta)})
    return found


def moved(params, step, direction):
    return jax.tree.map(lambda p, v: p + step * v, params, direction)


def flat(tree):
    """A tree of arrays with draws in front, as a matrix."""
    return np.concatenate(
        [np.reshape(x, (len(x), -1)) for x in jax.tree.leaves(tree)], axis=1
    )


def spread(estimates, truth):
    """The mean squared distance of the estimates, over the truth's squared norm."""
    return np.mean(np.sum((estimates - truth) ** 2, axis=1)) / np.sum(truth**2)


def along(estimates, truth):
    """How many standard errors the mean is off 1, along the truth; and at 1.2 times."""
    lengths = estimates @ truth / (truth @ truth)
    error = lengths.std() / len(lengths) ** 0.5
    return abs(lengths.mean() - 1) / error, abs(1.2 * lengths.mean() - 1) / error


def worst(estimates, truth):
    """The largest number of standard errors by which an entry's mean is off."""
    error = estimates.std(axis=0) / len(estimates) ** 0.5
    return np.max(np.abs(estimates.mean(axis=0) - truth) / np.maximum(error, 1e-12))
