"""Wake-sleep in a Helmholtz machine: `python wake_sleep.py --rule NAME`.

    wake:   x from the data, h and t by the recogniser:  -log p(x | h) p(h | t) p(t)
    sleep:  t, h and x by the generator:                 -log q(h | x) q(t | h)

Both are one ordinary loss (Hinton, Dayan, Frey & Neal 1995). States are drawn, so no
gradient passes through them: each layer predicts the layer beside it. The machine is
small enough to sum over all its states, so its likelihood is exact.
"""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import affine, dense, fit, run

import apical

PIXELS, HIDDEN, TOP = 9, 8, 3


def bars(size=3):
    """The images of bars, rows or columns, [14, 9]; the probability of each, [14]."""
    lines = np.array(list(product((0, 1), repeat=size)))
    rows = np.repeat(lines[:, :, None], size, 2).reshape(-1, size**2)
    columns = np.repeat(lines[:, None, :], size, 1).reshape(-1, size**2)
    images, counts = np.unique([*rows, *columns], axis=0, return_counts=True)
    return np.float32(images), np.float32(counts / counts.sum())


def machine(key):
    """Initial parameters: `up` recognises, `down` generates."""
    keys = jax.random.split(key, 4)
    return {
        "up": [dense(keys[0], PIXELS, HIDDEN), dense(keys[1], HIDDEN, TOP)],
        "down": [dense(keys[2], HIDDEN, PIXELS), dense(keys[3], TOP, HIDDEN)],
        "top": jnp.zeros(TOP),
    }


def draw(logits, uniform):
    """States: 1 with probability sigmoid(logits), given numbers uniform in [0, 1)."""
    return jax.lax.stop_gradient(jnp.float32(uniform < jax.nn.sigmoid(logits)))


def log_p(logits, states):
    """The log-probability of binary states, in nats."""
    return -jnp.sum(optax.sigmoid_binary_cross_entropy(logits, states), -1)


def generator(params, x, h, t):
    """The logarithm of p(x, h, t)."""
    below = log_p(affine(params["down"][0], h), x) + log_p(
        affine(params["down"][1], t), h
    )
    return below + log_p(params["top"], t)


def recogniser(params, x, h, t):
    """The logarithm of q(h, t | x)."""
    return log_p(affine(params["up"][0], x), h) + log_p(affine(params["up"][1], h), t)


def wake_sleep_loss(params, x, awake, asleep):
    """The loss of both phases, in nats per image.

    Args:
      params: made by `machine`.
      x: images, [n, 9].
      awake: uniform numbers for the states of the recogniser, [n, 11].
      asleep: uniform numbers for those of the generator, [n, 20].
    """
    h = draw(affine(params["up"][0], x), awake[:, :HIDDEN])
    t = draw(affine(params["up"][1], h), awake[:, HIDDEN:])
    wake = generator(params, x, h, t)

    for_t, for_h, for_x = jnp.split(asleep, [TOP, TOP + HIDDEN], axis=1)
    t = draw(params["top"], for_t)
    h = draw(affine(params["down"][1], t), for_h)
    dream = draw(affine(params["down"][0], h), for_x)
    return -jnp.mean(wake + recogniser(params, dream, h, t))


# ---- The truth, by sums over all states

H = np.array(list(product((0.0, 1.0), repeat=HIDDEN)), np.float32)[:, None]
T = np.array(list(product((0.0, 1.0), repeat=TOP)), np.float32)


def log_likelihood(params, x):
    """The logarithm of p(x), a sum of p(x, h, t) over all 2^11 states, by image."""
    joint = jax.vmap(lambda image: generator(params, image, H, T))(x)
    return jax.nn.logsumexp(joint, axis=(1, 2))


def exact_bound(params, x, probability):
    """The expected ELBO: what wake-sleep does not quite ascend."""

    def of(image):
        log_q = recogniser(params, image, H, T)
        return jnp.sum(jnp.exp(log_q) * (generator(params, image, H, T) - log_q))

    return jnp.sum(probability * jax.vmap(of)(x))


def missing(params, x, probability):
    """KL(data || generator), in nats."""
    log_data = jnp.log(probability)
    return float(jnp.sum(probability * (log_data - log_likelihood(params, x))))


def main(rule, updates=8000, batch=64):
    """Train by a rule; print the distance from the data, and two to compare it with."""
    x, probability = bars()
    pixels = probability @ x
    each = np.where(x == 1, pixels, 1 - pixels).prod(1)
    apart = float(np.sum(probability * np.log(probability / each)))

    def drawn(key):
        keys = jax.random.split(key, 3)
        chosen = jax.random.choice(keys[0], len(x), (batch,), p=probability)
        awake = jax.random.uniform(keys[1], (batch, HIDDEN + TOP))
        asleep = jax.random.uniform(keys[2], (batch, TOP + HIDDEN + PIXELS))
        return jnp.asarray(x)[chosen], awake, asleep

    before = machine(jax.random.key(0))
    adam = optax.adam(optax.cosine_decay_schedule(5e-2, updates))
    step = apical.train_step(wake_sleep_loss, rule, adam)
    after, _ = fit(step, jax.random.key(1), before, drawn, updates)
    found = missing(after, x, probability)
    print(f"KL to the data: {missing(before, x, probability):.3f} -> {found:.3f} nats")
    print(f"independent pixels: {apart:.3f} nats")

    exact = apical.train_step(
        lambda params, x: -exact_bound(params, x, probability),
        apical.rules.Backpropagation(),
        adam,
        batch_axes=None,
    )
    bound, _ = fit(exact, jax.random.key(1), before, lambda key: (x,), updates // 8)
    least = missing(bound, x, probability)
    print(f"by the exact gradient of the ELBO: {least:.3f} nats")
    return found, apart


if __name__ == "__main__":
    run(main)
