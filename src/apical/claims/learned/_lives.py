"""Lives: short trainings of a small network, each on a classification task of its own.

A task has a few classes with new labels and pixels in a new order. In a life a new
network makes some updates by a rule, on ten examples each; then it is tested on other
images of the same classes.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from apical.claims._claim import TaskContext
from apical.lab.data._load import load

Weights = dict[str, Array]
# The weights after the batches of a life, from those before: a key, weights, batches.
Learn = Callable[[Array, Weights, tuple[Array, Array]], Weights]

WORST = 5.0  # the loss of a life that diverged; chance has 1.6
SIDE = 8


class Form(NamedTuple):
    """The form of a life.

    Attributes:
        updates: of the weights.
        batch: examples of an update.
        hidden: units of each hidden layer.
        classes: of a task.
        tested: examples after the updates.
    """

    updates: int = 20
    batch: int = 10
    hidden: tuple[int, ...] = (32, 32)
    classes: int = 5
    tested: int = 100

    @property
    def layers(self) -> dict[str, tuple[int, int]]:
        """The shape of each layer's weights."""
        widths = (SIDE * SIDE, *self.hidden, self.classes)
        return {f"layer_{i}": each for i, each in enumerate(pairwise(widths), 1)}


class Images(NamedTuple):
    """Images `(classes, images, pixels)` to learn from, and others to test with."""

    learned: Array
    tested: Array


class Task(NamedTuple):
    """Batches `(updates, batch, ...)`, test examples, and labels as one-hot vectors."""

    batches: tuple[Array, Array]
    test: tuple[Array, Array]


# ---- Images by class


def images_by_class(name: str, context: TaskContext) -> Images:
    """The 8 x 8 digits, or a larger grey data set reduced to 8 x 8 pixels."""
    data = load(name, context.data_dir, context.download)
    x = np.concatenate([small_images(data.train_x), small_images(data.test_x)])
    y = np.concatenate([data.train_y, data.test_y])
    number = min(_MOST, *np.bincount(y))
    each = np.stack([x[y == label][:number] for label in range(data.classes)])
    cut = int(_LEARNED * number)
    return Images(jnp.asarray(each[:, :cut]), jnp.asarray(each[:, cut:]))


_MOST, _LEARNED = 170, 0.7


def small_images(x: np.ndarray) -> np.ndarray:
    """Grey images `(examples, 1, h, w)` as 64 pixels each, of mean 0 and variance 1."""
    extra = -x.shape[-1] % SIDE
    before = (extra // 2, extra - extra // 2)
    x = np.pad(x[:, 0], ((0, 0), before, before), constant_values=x.min())
    size = x.shape[-1] // SIDE
    blocks = x.reshape(len(x), SIDE, size, SIDE, size).mean((2, 4))
    return np.float32((blocks - blocks.mean()) / blocks.std()).reshape(len(x), -1)


def class_split(seed: int, classes: int = 10) -> tuple[Array, Array]:
    """Half of the classes to find a rule with, and the other half to test it."""
    order = np.random.default_rng(seed).permutation(classes)
    return jnp.asarray(order[: classes // 2]), jnp.asarray(order[classes // 2 :])


# ---- Tasks and lives


def drawn_task(key: Array, images: Images, among: Array, form: Form) -> Task:
    """A task of classes that are among these."""
    pixels, updates = images.learned.shape[-1], (form.updates, form.batch)
    shown = form.updates * form.batch
    sizes = (len(among), pixels, shown, shown, form.tested, form.tested)
    # One call: each compiles for as long as all the rest of a task.
    numbers = jax.random.uniform(key, (sum(sizes),))
    of_classes, of_pixels, *others = jnp.split(numbers, np.cumsum(sizes)[:-1])
    classes = among[jnp.argsort(of_classes)[: form.classes]]
    order = jnp.argsort(of_pixels)

    def drawn(of_labels: Array, of_images: Array, source: Array) -> tuple[Array, Array]:
        labels = (of_labels * form.classes).astype(int)
        chosen = (of_images * source.shape[1]).astype(int)
        x = source[classes[labels], chosen][..., order]
        return x, jax.nn.one_hot(labels, form.classes)

    first, second, *of_test = others
    batches = drawn(first.reshape(updates), second.reshape(updates), images.learned)
    return Task(batches, drawn(of_test[0], of_test[1], images.tested))


def new_weights(key: Array, form: Form) -> Weights:
    """Normal weights of variance 1 / inputs."""
    sizes = [m * n for m, n in form.layers.values()]
    parts = jnp.split(jax.random.normal(key, (sum(sizes),)), np.cumsum(sizes)[:-1])
    return {
        name: part.reshape(shape) / shape[0] ** 0.5
        for part, (name, shape) in zip(parts, form.layers.items(), strict=True)
    }


def network(w: Weights, x: Array) -> Array:
    """The logits: tanh layers without biases."""
    *hidden, readout = w.values()
    for each in hidden:
        x = jnp.tanh(x @ each)
    return x @ readout


def loss_fn(w: Weights, x: Array, y: Array) -> Array:
    """The cross-entropy."""
    return jnp.mean(optax.softmax_cross_entropy(network(w, x), y))


class Lived(NamedTuple):
    """The loss and the accuracy on the test examples of a life."""

    loss: Array
    accuracy: Array


def life(learn: Learn, key: Array, images: Images, among: Array, form: Form) -> Lived:
    """A new network learns a new task, and is tested."""
    of_task, of_weights, of_rule = jax.random.split(key, 3)
    batches, (x, y) = drawn_task(of_task, images, among, form)
    w = learn(of_rule, new_weights(of_weights, form), batches)
    loss = jnp.nan_to_num(loss_fn(w, x, y), nan=WORST, posinf=WORST)
    right = network(w, x).argmax(-1) == y.argmax(-1)
    return Lived(jnp.minimum(loss, WORST), jnp.mean(right))


def lives(
    learn: Learn, key: Array, number: int, images: Images, among: Array, form: Form
) -> Lived:
    """The losses and accuracies of several lives."""
    keys = jax.random.split(key, number)
    return jax.vmap(lambda each: life(learn, each, images, among, form))(keys)
