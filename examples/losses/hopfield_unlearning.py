"""Dreaming in a Hopfield network: `python hopfield_unlearning.py --rule NAME`.

    energy    E(s) = -s W s / 2,     s of -1 and 1, no unit acts on itself
    learning  loss = Σ E(pattern):   its gradient is Hebb's rule (Hopfield 1982)
    dreaming  loss = -mean E(dream): it raises the energy of what was dreamt

A dream is where the network settles from a random state: with many patterns mostly a
false memory (Hopfield, Feinstein & Palmer 1983). Without dreams a network of n units
recalls about 0.138 n random patterns (Amit, Gutfreund & Sompolinsky 1985).
"""

import jax
import jax.numpy as jnp
import optax
from common import run

import apical

UNITS = 200


def energy(weights, states):
    """The energy of each row."""
    others = weights * (1 - jnp.eye(UNITS))
    return -jnp.sum(states @ others * states, -1) / 2


def learning_loss(weights, patterns):
    """The sum of the energies of the patterns."""
    return jnp.sum(energy(weights, patterns))


def dreaming_loss(weights, dreams):
    """Minus the mean energy of what was dreamt."""
    return -jnp.mean(energy(weights, dreams))


def settle(weights, states, key, sweeps=10):
    """Set each unit to the sign of its input, one after the other, in random order."""
    keys = jax.random.split(key, sweeps)
    order = jax.vmap(lambda k: jax.random.permutation(k, UNITS))(keys).reshape(-1)

    def one(states, unit):
        drive = weights[unit].at[unit].set(0) @ states
        return states.at[unit].set(jnp.where(drive >= 0, 1.0, -1.0)), None

    return jax.lax.scan(one, states.T, order)[0].T


def random_states(key, count):
    """Random states of -1 and 1, [count, UNITS]."""
    return jnp.where(jax.random.bernoulli(key, 0.5, (count, UNITS)), 1.0, -1.0)


def overlap(weights, patterns, key):
    """The mean overlap of patterns with where the network settles from them."""
    noise, order = jax.random.split(key)
    flipped = jax.random.bernoulli(noise, 0.05, patterns.shape)
    cue = jnp.where(flipped, -patterns, patterns)
    return jnp.mean(settle(weights, cue, order) * patterns)


def hebb(rule, patterns):
    """The weights after one update by a rule, W = Σ s sᵀ / n."""
    # A weight and its mirror image share the energy of a pair, hence the 2.
    step = apical.train_step(learning_loss, rule, optax.sgd(2 / UNITS), reduction="sum")
    weights = jnp.zeros((UNITS, UNITS))
    state = step.init(jax.random.key(0), weights, patterns)
    return step(weights, state, patterns)[0]


def dream(rule, weights, key, nights, strength=0.02, dreams=20):
    """The weights after each night of dreams, [nights, UNITS, UNITS]."""
    rate = optax.sgd(2 * strength * dreams / UNITS)
    step = apical.train_step(dreaming_loss, rule, rate)
    state = step.init(key, weights, random_states(key, dreams))

    def night(carry, key):
        weights, state = carry
        start, order = jax.random.split(key)
        seen = settle(weights, random_states(start, dreams), order)
        weights, state, _ = step(weights, state, seen)
        return (weights, state), weights

    return jax.lax.scan(night, (weights, state), jax.random.split(key, nights))[1]


def main(rule, nights=80):
    """Print the overlap at recall, by the number of patterns and of nights."""
    shown = [night - 1 for night in (5, 10, 20, 40, 80) if night <= nights]

    @jax.jit
    def recall(patterns, key):
        learned = hebb(rule, patterns)
        after = dream(rule, learned, key, nights)[jnp.array(shown)]
        every = jnp.concatenate([learned[None], after])
        return jax.lax.map(lambda w: overlap(w, patterns, key), every)

    print("patterns / n   nights: 0 " + "".join(f"{n + 1:7}" for n in shown))
    found = {}
    for load in (0.1, 0.2, 0.3, 0.4, 0.5):
        patterns = random_states(jax.random.key(1), round(load * UNITS))
        found[load] = [float(m) for m in recall(patterns, jax.random.key(2))]
        print(f"{load:12} " + "".join(f"{m:7.2f}" for m in found[load]))
    return found


if __name__ == "__main__":
    run(main)
