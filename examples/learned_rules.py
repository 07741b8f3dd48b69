"""Learning rules found by gradient, evolution and search: `learned_rules.py`.

A life is 15 updates of a small network, on a task of its own: five classes of digits,
new labels, pixels in a new order. A rule is good if the loss after a life is low:

    dw = sum A[a, b, c, d] mean(x^a y^b delta^d) w^c

with delta from feedback through fixed random weights. Long rules have a price.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from evosax.algorithms import Open_ES
from sklearn.datasets import load_digits

import apical
from apical.rules import FeedbackAlignment, Plasticity

UPDATES, BATCH, CLASSES = 15, 10, 5
SHAPE = (2, 3, 2, 2)  # exponents 0 and 1 of x, w and delta; 0, 1 and 2 of y
START = jnp.zeros(SHAPE).at[1, 0, 0, 1].set(0.3)  # the teacher's own update, slowly
EVERY, RATE = jnp.ones(SHAPE), (START > 0).astype(float)  # what may be learned
PRICE, WORST = 0.02, 5.0


def images_by_class():
    """Images `[class, image, pixel]` to find rules with, and others to test them."""
    images, labels = load_digits(return_X_y=True)
    by_class = np.stack([images[labels == c][:170] for c in range(10)]) / 16 - 0.3
    return jnp.float32(by_class[:, :120]), jnp.float32(by_class[:, 120:])


def task(key, images):
    """The batches of a life, and a batch to test what was learned."""
    keys = jax.random.split(key, 4)
    classes = jax.random.permutation(keys[0], 10)[:CLASSES]
    pixels = jax.random.permutation(keys[1], 64)
    shape = (UPDATES + 5, BATCH)
    labels = jax.random.randint(keys[2], shape, 0, CLASSES)
    chosen = jax.random.randint(keys[3], shape, 0, images.shape[1])
    x = images[classes[labels], chosen][..., pixels]
    y = jax.nn.one_hot(labels, CLASSES)
    test = x[UPDATES:].reshape(-1, 64), y[UPDATES:].reshape(-1, CLASSES)
    return (x[:UPDATES], y[:UPDATES]), test


def network(w, x):
    """The logits of a network with a hidden layer, in plain JAX."""
    return jnp.tanh(x @ w["hidden"]) @ w["readout"]


def loss_fn(w, x, y):
    """The cross-entropy."""
    return optax.softmax_cross_entropy(network(w, x), y).mean()


def life(coefficients, key, images):
    """The loss and the accuracy after the updates of one task."""
    keys = jax.random.split(key, 4)
    sizes = {"hidden": (64, 16), "readout": (16, CLASSES)}
    w = {
        name: jax.random.normal(k, size) / size[0] ** 0.5
        for k, (name, size) in zip(keys, sizes.items(), strict=False)
    }
    batches, (x, y) = task(keys[2], images)
    rule = Plasticity(coefficients, FeedbackAlignment())
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(keys[3], w, batches[0][0], batches[1][0])

    def update(at, batch):
        w, state = at
        credit = learner(w, state, *batch)
        w = jax.tree.map(lambda w, g: w - g, w, credit.grads)
        return (w, credit.state), None

    (w, _), _ = jax.lax.scan(update, (w, state), batches)
    right = network(w, x).argmax(-1) == y.argmax(-1)
    loss = jnp.nan_to_num(loss_fn(w, x, y), nan=WORST, posinf=WORST)
    return jnp.minimum(loss, WORST), jnp.mean(right)


def mean_loss(coefficients, key, images, tasks):
    """The loss after a life, its mean over tasks, and the price of the rule."""
    keys = jax.random.split(key, tasks)
    losses, _ = jax.vmap(life, (None, 0, None))(coefficients, keys, images)
    return jnp.mean(losses) + PRICE * jnp.sum(jnp.abs(coefficients))


every = jax.vmap(mean_loss, (0, None, None, None))  # a population of rules


def by_gradient(key, images, updates, learned=EVERY, step=0.01, tasks=8):
    """Differentiate through lives; returns the rule, and the lives lived."""
    rate = optax.cosine_decay_schedule(step, updates)
    safe = optax.zero_nans(), optax.clip_by_global_norm(1.0)
    optimizer = optax.chain(*safe, optax.adam(rate))

    @jax.jit
    def move(coefficients, state, key, images):
        slopes = jax.grad(mean_loss)(coefficients, key, images, tasks) * learned
        moved, state = optimizer.update(slopes, state)
        return optax.apply_updates(coefficients, moved), state

    coefficients, state = START, optimizer.init(START)
    for each in jax.random.split(key, updates):
        coefficients, state = move(coefficients, state, each, images)
    return coefficients, updates * tasks


def by_evolution(key, images, generations, population=32, tasks=8):
    """Evolve by evosax's `Open_ES`: every rule of a generation lives the same tasks."""
    strategy = Open_ES(
        population_size=population,
        solution=START,
        optimizer=optax.adam(optax.cosine_decay_schedule(0.02, generations)),
        std_schedule=optax.constant_schedule(0.03),
    )
    settings = strategy.default_params
    state = strategy.init(key, START, settings)

    @jax.jit
    def step(state, key, images):
        keys = jax.random.split(key, 3)
        rules, state = strategy.ask(keys[0], state, settings)
        lived = every(rules, keys[1], images, tasks)
        return strategy.tell(keys[2], rules, lived, state, settings)[0]

    for each in jax.random.split(key, generations):
        state = step(state, each, images)
    return strategy.get_mean(state), generations * population * tasks


def by_search(key, images, candidates, tasks=8, terms=3, batch=64):
    """Draw rules of a few terms at random, and keep the best."""

    def draw(key):
        keys = jax.random.split(key, 3)
        at = jax.random.permutation(keys[0], START.size)[:terms]
        size = 10 ** jax.random.uniform(keys[1], (terms,), minval=-2.5, maxval=0.5)
        sign = jax.random.rademacher(keys[2], (terms,))
        return jnp.zeros(START.size).at[at].set(size * sign).reshape(SHAPE)

    @jax.jit
    def try_some(key, tested, images):
        rules = jax.vmap(draw)(jax.random.split(key, batch))
        lived = every(rules, tested, images, tasks)
        return rules[jnp.argmin(lived)], jnp.min(lived)

    tested, *keys = jax.random.split(key, 1 + candidates // batch)
    rules, losses = zip(*(try_some(k, tested, images) for k in keys), strict=True)
    return rules[int(np.argmin(losses))], candidates * tasks


def main(updates=100, generations=100, candidates=2048, tests=400, skip=()):
    """Print each way's rule, and its loss and accuracy after lives on new images."""
    images, new = images_by_class()
    lives = jax.jit(jax.vmap(life, (None, 0, None)))
    keys = jax.random.split(jax.random.key(1), tests)
    ways = {
        "start": lambda key: (START, 0),
        "rate": lambda key: by_gradient(key, images, updates, RATE, 0.03),
        "gradient": lambda key: by_gradient(key, images, updates),
        "evolution": lambda key: by_evolution(key, images, generations),
        "search": lambda key: by_search(key, images, candidates),
    }
    for name, find in ways.items():
        if name in skip:
            continue
        begun = time.perf_counter()
        coefficients, lived = find(jax.random.key(0))
        seconds = time.perf_counter() - begun
        loss, right = map(np.mean, lives(coefficients, keys, new))
        print(f"{name:9} lives {lived:6}  loss {loss:.3f}  accuracy {right:.3f}")
        print(f"  {Plasticity(coefficients).formula(2, 0.02)}  ({seconds:.0f} s)")


if __name__ == "__main__":
    main()
