"""A convolutional flax model and three rules: `python examples/flax_model.py`."""

import flax.linen as nn
import jax
import numpy as np
import optax
from sklearn.datasets import load_digits

import apical
from apical.rules import Backpropagation, FeedbackAlignment, KolenPollack


class Network(nn.Module):
    """Two convolutions and a readout."""

    @nn.compact
    def __call__(self, images):
        """Return the logits."""
        h = nn.tanh(nn.Conv(8, (3, 3), strides=2)(images))
        h = nn.tanh(nn.Conv(16, (3, 3), strides=2)(h))
        return nn.Dense(10)(h.reshape(len(h), -1))


def loss_fn(params, images, labels):
    """The cross-entropy; what `init` returned is `params`."""
    logits = Network().apply(params, images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def train(rule, images, labels, updates, batch=64):
    """Train from scratch by a rule; return the loss before and after."""
    keys = jax.random.split(jax.random.key(0))
    params = jax.jit(Network().init)(keys[0], images[:batch])

    step = apical.train_step(loss_fn, rule, optax.adam(3e-3))  # the rule: one argument
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
    images, labels = np.float32(digits.images[..., None] / 16), digits.target
    for rule in (Backpropagation(), FeedbackAlignment(), KolenPollack()):
        before, after = train(rule, images, labels, updates)
        print(f"{type(rule).__name__:18} loss {before:.3f} -> {after:.3f}")


if __name__ == "__main__":
    main()
