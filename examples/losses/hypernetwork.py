"""A genome that writes the connectome: `python hypernetwork.py --rule NAME`.

    w_ij = g(gene_i, gene_j) / sqrt(n)       g: one small network for all synapses

Only genes and g are parameters (a genomic bottleneck: Shuvaev et al. 2024). The loss is
that of a network with the weights w, and `apical` finds w where it meets activities. A
rule with feedback weights keeps a second copy of the parameters: a second genome, which
grows the feedback connectome. Trained in two ways:

    innate     the genome descends the loss at birth, by any rule
    lifetime   the newborn first learns by that rule; the genome descends the loss after
               it, by `jax.grad` through the learner: a proxy for evolution
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import optax
from common import dense, digits, fit, run

import apical
from apical.rules import Backpropagation

SIZES, GENE = (64, 32, 10), 6
# For the rules that use them: the target of the output, and the input.
DESCRIPTION = {
    "target": lambda x, labels: jax.nn.one_hot(labels, SIZES[-1]),
    "input_argnums": 0,
}


def genome(key, hidden=16):
    """A gene for each neuron, and the network that makes a weight of two genes."""
    keys = jax.random.split(key, 5)
    each = zip(keys[:3], SIZES, strict=True)
    return {
        "genes": [jax.random.normal(k, (n, GENE)) for k, n in each],
        "g": [dense(keys[3], 2 * GENE, hidden), dense(keys[4], hidden, 1)],
    }


def grow(params):
    """The weights between neighbouring layers."""

    def between(before, after):
        # The first layer of g on a pair of genes is a sum of two parts.
        one, other = jnp.split(params["g"][0]["w"], 2)
        pairs = (before @ one)[:, None] + after @ other + params["g"][0]["b"]
        w = jnp.tanh(pairs) @ params["g"][1]["w"] + params["g"][1]["b"]
        return w[..., 0] / len(before) ** 0.5

    genes = params["genes"]
    return [between(*pair) for pair in pairwise(genes)]


def network_loss(weights, x, labels):
    """The cross-entropy of a network with one hidden layer."""
    logits = jnp.tanh(x @ weights[0]) @ weights[1]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def loss_fn(params, x, labels):
    """The cross-entropy at birth, of the genome."""
    return network_loss(grow(params), x, labels)


def accuracy(weights, x, labels):
    """The share of images that the network names right."""
    return float(jnp.mean((jnp.tanh(x @ weights[0]) @ weights[1]).argmax(-1) == labels))


def lifetime_step(rule, rate=0.5):
    """One update of the weights by a rule."""
    return apical.train_step(network_loss, rule, optax.sgd(rate), **DESCRIPTION)


def learn(rule, weights, state, x, labels):
    """One update for each batch: x is [steps, batch, 64]."""
    step = lifetime_step(rule)

    def update(carry, batch):
        weights, state, _ = step(*carry, *batch)
        return (weights, state), None

    return jax.lax.scan(update, (weights, state), (x, labels))[0][0]


def lifetime_loss(rule, state):
    """The loss of a genome after its network has learned, on other images."""

    def loss(params, x, labels):
        weights = learn(rule, grow(params), state, x[1:], labels[1:])
        return network_loss(weights, x[0], labels[0])

    return loss


def main(rule, updates=2000, lifetime=10, batch=64):
    """Train genomes; print the accuracy at birth and after learning, on test images."""
    x, labels, test, test_labels = digits()
    before = genome(jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(before))
    synapses = sum(a * b for a, b in pairwise(SIZES))
    print(f"genome {count} numbers, connectome {synapses} synapses")

    def draw(key, batches=()):
        rows = jax.random.randint(key, (*batches, batch), 0, len(x))
        return jnp.asarray(x)[rows], jnp.asarray(labels)[rows]

    adam = optax.adam(optax.cosine_decay_schedule(1e-2, updates))
    innate = apical.train_step(loss_fn, rule, adam, **DESCRIPTION)
    genomes = {"random": before}
    genomes["innate"] = fit(innate, jax.random.key(1), before, draw, updates)[0]

    batch_of = x[:batch], labels[:batch]
    state = lifetime_step(rule).init(jax.random.key(2), grow(before), *batch_of)
    evolved = apical.train_step(
        lifetime_loss(rule, state), Backpropagation(), adam, batch_axes=None
    )
    genomes["lifetime"], _ = fit(
        evolved,
        jax.random.key(1),
        before,
        lambda k: draw(k, (lifetime + 1,)),
        updates // 5,
    )
    newborn = {name: grow(params) for name, params in genomes.items()}
    keys = jax.random.split(jax.random.key(3))
    newborn["no genome"] = [
        dense(k, *pair)["w"] for k, pair in zip(keys, pairwise(SIZES), strict=True)
    ]
    found = {}
    for name, weights in newborn.items():
        grown = learn(rule, weights, state, *draw(jax.random.key(4), (lifetime,)))
        at_birth, later = (accuracy(w, test, test_labels) for w in (weights, grown))
        print(f"{name:9} at birth {at_birth:.1%}, after {lifetime} updates {later:.1%}")
        found[name] = at_birth, later
    return found


if __name__ == "__main__":
    run(main)
