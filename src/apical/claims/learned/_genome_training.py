"""The training of genomes: by the loss at birth, or by the loss after a life.

    at birth        L(grow(genome))
    after a life    L(w_K),    w_k = w_{k-1} - rate dL_k/dw,    w_0 = grow(genome)

The gradient passes through growth and, of the second, through the life, whose rate is a
number of the genome. It stands for evolution. Direct weights are trained by the first.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from apical.claims.learned._genomes import (
    drawn_batches,
    grow,
    live,
    loss,
    new_genome,
    new_weights,
    tags_of,
)

INNATE, LIFETIME = "genome, by loss at birth", "genome, by loss after learning"
DIRECT = "direct weights, trained"
PARTS = 10  # of the training, after each of which the genes are kept


class Images(NamedTuple):
    """Images and labels to train with, to choose with, and to test with."""

    train: tuple[Array, Array]
    held_out: tuple[Array, Array]
    test: tuple[Array, Array]


class Plan(NamedTuple):
    """What is trained: how it begins, and the weights and the loss that follow."""

    begin: Any
    weights: Any
    loss: Any


def training_plan(name: str, sizes: tuple[int, ...], hidden: int) -> Plan:
    """What is trained, by its name.

    Args:
        name: `INNATE`, `LIFETIME` or `DIRECT`.
        sizes: of the layers of the network.
        hidden: units in each layer of g.
    """
    if name == DIRECT:
        begin = partial(new_weights, sizes=sizes)
        return Plan(begin, lambda w: w, lambda w, x, y: loss(w, x[0], y[0]))
    tags = tags_of(sizes)

    def begun(key: Array) -> Any:
        genome = new_genome(key, sizes, hidden)
        learns = {"log_rate": jnp.log(jnp.asarray(0.1))} if name == LIFETIME else {}
        return {"genome": genome, **learns}

    def weights(genes: Any) -> Any:
        return grow(genes["genome"], tags)

    def at_birth(genes: Any, x: Array, y: Array) -> Array:
        return loss(weights(genes), x[0], y[0])

    def after_life(genes: Any, x: Array, y: Array) -> Array:
        rate = jnp.exp(genes["log_rate"])
        return loss(live(weights(genes), rate, (x[1:], y[1:])), x[0], y[0])

    return Plan(begun, weights, after_life if name == LIFETIME else at_birth)


class Course(NamedTuple):
    """A training: its genes after every part, at a rate."""

    plan: Plan
    batches: int  # of each update

    def run(self, images: Images, key: Array, rate: Array, updates: int) -> Any:
        """The genes after every tenth of the updates, stacked; their own rate falls.

        Args:
            images: to train with.
            key: of the start and the batches.
            rate: of Adam.
            updates: of the genes.
        """
        transform = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())
        falling = optax.cosine_decay_schedule(1.0, updates)
        of_start, of_batches = jax.random.split(key)
        genes = self.plan.begin(of_start)

        def update(at: Any, given: Any) -> tuple[Any, None]:
            genes, moments = at
            number, key = given
            batch = drawn_batches(key, *images.train, self.batches)
            slopes = jax.grad(self.plan.loss)(genes, *batch)
            moved, moments = transform.update(slopes, moments)
            size = rate * falling(number)
            genes = jax.tree.map(lambda g, m: g - size * m, genes, moved)
            return (genes, moments), None

        def part(at: Any, given: Any) -> tuple[Any, Any]:
            at, _ = jax.lax.scan(update, at, given)
            return at, at[0]

        keys = jax.random.split(of_batches, updates)
        given = jax.tree.map(
            lambda leaf: leaf.reshape(PARTS, -1, *leaf.shape[1:]),
            (jnp.arange(updates), keys),
        )
        return jax.lax.scan(part, (genes, transform.init(genes)), given)[1]
