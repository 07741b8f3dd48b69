"""A restricted Boltzmann machine: `python boltzmann_machine.py --rule NAME`.

    loss = F(data) - F(dream),      F(v) = -v b - Σ_j softplus(v w_j + c_j)

F is the free energy, and `dream` are states that the machine drew itself. Where they
start is what tells two methods apart: at the data, contrastive divergence (Hinton
2002); where the last call left them, persistent (Tieleman 2008). The machine is small
enough to sum over all its states, so its likelihood is exact.
"""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import fit, run
from wake_sleep import bars

import apical

PIXELS, HIDDEN = 9, 8


def machine(key):
    """Initial parameters: weights, and the biases of both layers."""
    w = 0.1 * jax.random.normal(key, (PIXELS, HIDDEN))
    return {"w": w, "visible": jnp.zeros(PIXELS), "hidden": jnp.zeros(HIDDEN)}


def free_energy(params, v):
    """F(v) of each row, with the hidden units summed over."""
    drive = v @ params["w"] + params["hidden"]
    return -v @ params["visible"] - jnp.sum(jax.nn.softplus(drive), -1)


def contrastive_loss(params, data, dream):
    """Lower the free energy of the data, and raise that of what was dreamt."""
    return jnp.mean(free_energy(params, data) - free_energy(params, dream))


def only_data_loss(params, data, dream):
    """The control: nothing is raised."""
    return jnp.mean(free_energy(params, data))


def gibbs(params, v, key, sweeps):
    """Draw hidden and visible units in turn, this many times."""

    def sweep(v, key):
        for_hidden, for_visible = jax.random.split(key)
        chance = jax.nn.sigmoid(v @ params["w"] + params["hidden"])
        h = jax.random.bernoulli(for_hidden, chance).astype(jnp.float32)
        chance = jax.nn.sigmoid(h @ params["w"].T + params["visible"])
        return jax.random.bernoulli(for_visible, chance).astype(jnp.float32), None

    return jax.lax.scan(sweep, v, jax.random.split(key, sweeps))[0]


# ---- The truth, by a sum over all images

ALL = np.array(list(product((0.0, 1.0), repeat=PIXELS)), np.float32)


def log_likelihood(params, x):
    """The logarithm of p(x) = exp(-F(x)) / Z, with Z summed over all 2^9 images."""
    log_z = jax.nn.logsumexp(-free_energy(params, ALL))
    return -free_energy(params, x) - log_z


def missing(params, x, probability):
    """KL(data || machine), in nats."""
    return jnp.sum(probability * (jnp.log(probability) - log_likelihood(params, x)))


def train(loss_fn, rule, sweeps, persistent, updates, batch=64):
    """Train by a rule; return the parameters after.

    Args:
      loss_fn: what to descend.
      rule: the learning rule.
      sweeps: sweeps of Gibbs sampling before each update.
      persistent: whether they go on from the last dream, not from the data.
      updates: how many.
      batch: the number of images, and of dreams.
    """
    x, probability = bars()

    def images(key):
        chosen = jax.random.choice(key, len(x), (batch,), p=probability)
        return jnp.asarray(x)[chosen]

    adam = optax.adam(optax.cosine_decay_schedule(1e-2, updates))
    step = apical.train_step(loss_fn, rule, adam)
    params, dream = machine(jax.random.key(0)), images(jax.random.key(1))
    state = step.init(jax.random.key(2), params, dream, dream)

    def update(carry, key):
        params, state, dream = carry
        for_data, for_dream = jax.random.split(key)
        data = images(for_data)
        dream = gibbs(params, dream if persistent else data, for_dream, sweeps)
        params, state, _ = step(params, state, data, dream)
        return (params, state, dream), None

    keys = jax.random.split(jax.random.key(3), updates)
    scan = jax.jit(lambda carry: jax.lax.scan(update, carry, keys)[0])
    return scan((params, state, dream))[0]


def main(rule, updates=8000):
    """Train by a rule; print the distance from the data for each kind of dream."""
    found = {}
    for name, loss_fn, sweeps, persistent in (
        ("CD-1", contrastive_loss, 1, False),
        ("CD-10", contrastive_loss, 10, False),
        ("persistent", contrastive_loss, 1, True),
        ("no dream", only_data_loss, 1, False),
    ):
        params = train(loss_fn, rule, sweeps, persistent, updates)
        found[name] = float(missing(params, *bars()))
        print(f"{name:22} KL to the data {found[name]:8.3f} nats")
    exact = exact_gradient(updates)
    found["likelihood"] = float(missing(exact, *bars()))
    print(f"{'exact likelihood':22} KL to the data {found['likelihood']:8.3f} nats")
    return found


def exact_gradient(updates):
    """Parameters after training by the gradient of the exact likelihood."""
    adam = optax.adam(optax.cosine_decay_schedule(1e-2, updates))
    exact = apical.train_step(
        missing, apical.rules.Backpropagation(), adam, batch_axes=None
    )
    params = machine(jax.random.key(0))
    return fit(exact, jax.random.key(1), params, lambda key: bars(), updates)[0]


if __name__ == "__main__":
    run(main)
