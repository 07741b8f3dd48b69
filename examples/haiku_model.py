"""A recurrent haiku model and three rules: `python examples/haiku_model.py`."""

import haiku as hk
import jax
import numpy as np
import optax
from sklearn.datasets import load_digits

import apical
from apical.rules import Backpropagation, FeedbackAlignment, PredictiveCoding


def network(images):
    """Read the rows of the images one after the other; return the logits."""
    cell = hk.LSTM(32)
    start = cell.initial_state(len(images))
    states, _ = hk.dynamic_unroll(cell, images, start, time_major=False)
    return hk.Linear(10)(states[:, -1])


forward = hk.without_apply_rng(hk.transform(network))


def loss_fn(params, images, labels):
    """The cross-entropy; what haiku's `init` returned is `params`."""
    logits = forward.apply(params, images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def train(rule, images, labels, updates, batch=64):
    """Train from scratch by a rule; return the loss before and after."""
    keys = jax.random.split(jax.random.key(0))
    params = jax.jit(forward.init)(keys[0], images[:batch])

    step = apical.train_step(loss_fn, rule, optax.adam(1e-2))  # the rule: one argument
    state = step.init(keys[1], params, images[:batch], labels[:batch])
    before, step = loss_fn(params, images, labels), jax.jit(step)
    order = np.random.default_rng(0)
    for _ in range(updates):
        chosen = order.choice(len(images), batch, replace=False)
        params, state, _ = step(params, state, images[chosen], labels[chosen])
    return float(before), float(loss_fn(params, images, labels))


def main(updates=100):
    """Print the loss before and after, for each rule."""
    digits = load_digits()
    images, labels = np.float32(digits.images / 16), digits.target
    for rule in (Backpropagation(), FeedbackAlignment(), PredictiveCoding()):
        before, after = train(rule, images, labels, updates)
        print(f"{type(rule).__name__:18} loss {before:.3f} -> {after:.3f}")


if __name__ == "__main__":
    main()
