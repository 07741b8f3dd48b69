"""An equinox model and three rules: `python examples/equinox_model.py`."""

import equinox as eqx
import jax
import numpy as np
import optax
from sklearn.datasets import load_digits

import apical
from apical.rules import Backpropagation, PredictiveCoding, SignConcordance


def loss_fn(model, images, labels):
    """The cross-entropy; the module itself is `params`, with all its leaves."""
    logits = jax.vmap(model)(images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def train(rule, images, labels, updates, batch=64):
    """Train from scratch by a rule; return the loss before and after."""
    keys = jax.random.split(jax.random.key(0))
    model = eqx.nn.MLP(64, 10, 48, depth=2, activation=jax.nn.tanh, key=keys[0])

    step = apical.train_step(loss_fn, rule, optax.adam(3e-3))  # the rule: one argument
    state = step.init(keys[1], model, images[:batch], labels[:batch])
    # A module holds functions too: `eqx.filter_jit` takes them, `jax.jit` does not.
    before, step = loss_fn(model, images, labels), eqx.filter_jit(step)
    order = np.random.default_rng(0)
    for _ in range(updates):
        chosen = order.choice(len(images), batch, replace=False)
        model, state, _ = step(model, state, images[chosen], labels[chosen])
    return float(before), float(loss_fn(model, images, labels))


def main(updates=150):
    """Print the loss before and after, for each rule."""
    digits = load_digits()
    images, labels = np.float32(digits.data / 16), digits.target
    free = PredictiveCoding(steps=10, rate=0.2, prediction="free")
    for rule in (Backpropagation(), SignConcordance(), free):
        before, after = train(rule, images, labels, updates)
        print(f"{type(rule).__name__:18} loss {before:.3f} -> {after:.3f}")


if __name__ == "__main__":
    main()
