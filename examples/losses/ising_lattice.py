"""A Boltzmann machine on a lattice: `python ising_lattice.py --rule NAME`.

    loss = E(data) - E(dream),      E(s) = -Σ_i b_i s_i - Σ_ij J_ij s_i s_j

for spins s_i of -1 and 1 with their four neighbours on a torus. Sites of one colour of
the checkerboard do not touch, so that each colour is drawn at once, given the other.
thrml draws these blocks (`pip install thrml`); the loss function knows nothing of it.
The data come from a lattice with known b and J, which learning should find.
"""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import run

import apical


def lattice(side):
    """The pairs of neighbours on a torus, and the sites of each colour."""
    at = np.arange(side * side).reshape(side, side)
    pairs = [
        np.stack([at, np.roll(at, -1, axis)], -1).reshape(-1, 2) for axis in (0, 1)
    ]
    colour = np.indices((side, side)).sum(0).ravel() % 2
    return np.concatenate(pairs), [np.flatnonzero(colour == c) for c in (0, 1)]


def machine(key, side, scale):
    """Biases of sites and couplings of neighbours."""
    of_sites, of_pairs = jax.random.split(key)
    sites = side * side
    return {
        "b": scale * jax.random.normal(of_sites, (sites,)),
        "J": scale * jax.random.normal(of_pairs, (2 * sites,)),
    }


def energy(params, spins, pairs):
    """E(s) of each row of spins."""
    both = spins[:, pairs[:, 0]] * spins[:, pairs[:, 1]]
    return -spins @ params["b"] - both @ params["J"]


def lattice_loss(side):
    """Lower the energy of the data, and raise that of what was dreamt."""
    pairs = lattice(side)[0]

    def loss_fn(params, data, dream):
        return jnp.mean(energy(params, data, pairs) - energy(params, dream, pairs))

    return loss_fn


def sampler(side):
    """A function that draws spins by block Gibbs sampling, from spins and a key."""
    from thrml import Block, SamplingSchedule, SpinNode, sample_states
    from thrml.models import IsingEBM, IsingSamplingProgram

    pairs, colours = lattice(side)
    nodes = [SpinNode() for _ in range(side * side)]
    edges = [(nodes[i], nodes[j]) for i, j in pairs]
    blocks = [Block([nodes[i] for i in colour]) for colour in colours]

    def draw(params, spins, key, sweeps):
        model = IsingEBM(nodes, edges, params["b"], params["J"], jnp.array(1.0))
        program = IsingSamplingProgram(model, blocks, [])
        last = SamplingSchedule(n_warmup=sweeps, n_samples=1, steps_per_sample=1)

        def one(spins, key):
            start = [spins[colour] > 0 for colour in colours]
            (found,) = sample_states(key, program, last, start, [], [Block(nodes)])
            return 2.0 * found[-1] - 1.0

        return jax.vmap(one)(spins, jax.random.split(key, len(spins)))

    return draw


def exact_moments(params, side):
    """The means of s_i and of s_i s_j, by a sum over all states of a small lattice."""
    pairs, _ = lattice(side)
    every = np.array(list(product((-1.0, 1.0), repeat=side * side)), np.float32)
    weight = jax.nn.softmax(-energy(params, every, pairs))
    return weight @ every, weight @ (every[:, pairs[:, 0]] * every[:, pairs[:, 1]])


def train(rule, truth, side, updates, sweeps=1, batch=256):
    """Learn from what `truth` draws, with dreams that go on from call to call."""
    draw = sampler(side)
    rate = optax.cosine_decay_schedule(3e-2, updates)
    step = apical.train_step(lattice_loss(side), rule, optax.adam(rate))
    keys = jax.random.split(jax.random.key(1), 5)
    start = jnp.where(jax.random.bernoulli(keys[0], 0.5, (batch, side**2)), 1.0, -1.0)
    data = jax.jit(lambda s: draw(truth, s, keys[1], 100))(start)
    params = machine(keys[2], side, 0.0)
    state = step.init(keys[3], params, data, start)

    def update(carry, key):
        params, state, data, dream = carry
        of_data, of_dream = jax.random.split(key)
        data = draw(truth, data, of_data, sweeps)
        dream = draw(params, dream, of_dream, sweeps)
        params, state, _ = step(params, state, data, dream)
        return (params, state, data, dream), None

    scan = jax.jit(lambda carry, keys: jax.lax.scan(update, carry, keys)[0])
    return scan((params, state, data, start), jax.random.split(keys[4], updates))[0]


def error(params, truth):
    """The root of the mean squared error of all parameters, relative to their size."""
    off = jax.tree.map(jnp.subtract, params, truth)
    return float(optax.tree.norm(off) / optax.tree.norm(truth))


def main(rule, side=16, updates=1500):
    """Learn a lattice by a rule; print how far its parameters are from the truth."""
    truth = machine(jax.random.key(0), side, 0.3)
    params = train(rule, truth, side, updates)
    found = {"untrained": 1.0, "trained": error(params, truth)}
    for name, off in found.items():
        print(f"{side} x {side} spins, {name:10} relative error {off:.3f}")
    return found


if __name__ == "__main__":
    run(main)
