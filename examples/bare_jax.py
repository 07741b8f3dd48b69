"""A loss in bare JAX and three rules: `python examples/bare_jax.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import apical
from apical.rules import Backpropagation, FeedbackAlignment, PredictiveCoding


def loss_fn(params, images, labels):
    """The cross-entropy of a network with two hidden layers, in plain JAX."""
    h = jnp.tanh(images @ params["first"]["w"] + params["first"]["b"])
    h = jnp.tanh(h @ params["second"]["w"] + params["second"]["b"])
    logits = h @ params["third"]["w"] + params["third"]["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def dense(key, rows, columns):
    """A layer: small random weights, no biases yet."""
    weights = jax.random.normal(key, (rows, columns)) / rows**0.5
    return {"w": weights, "b": jnp.zeros(columns)}


def train(rule, images, labels, updates, batch=64):
    """Train from scratch by a rule; return the loss before and after."""
    keys = jax.random.split(jax.random.key(0), 4)
    params = {"first": dense(keys[0], 64, 48), "second": dense(keys[1], 48, 32)}
    params["third"] = dense(keys[2], 32, 10)

    step = apical.train_step(loss_fn, rule, optax.adam(3e-3))  # the rule: one argument
    state = step.init(keys[3], params, images[:batch], labels[:batch])
    before, step = loss_fn(params, images, labels), jax.jit(step)
    order = np.random.default_rng(0)
    for _ in range(updates):
        chosen = order.choice(len(images), batch, replace=False)
        params, state, _ = step(params, state, images[chosen], labels[chosen])
    return float(before), float(loss_fn(params, images, labels))


def main(updates=150):
    """Print the loss before and after, for each rule."""
    digits = load_digits()
    images, labels = np.float32(digits.data / 16), digits.target
    for rule in (Backpropagation(), FeedbackAlignment(), PredictiveCoding()):
        before, after = train(rule, images, labels, updates)
        print(f"{type(rule).__name__:18} loss {before:.3f} -> {after:.3f}")


if __name__ == "__main__":
    main()
