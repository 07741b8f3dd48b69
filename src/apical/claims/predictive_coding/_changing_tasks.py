"""Tasks of Song et al. 2024 as courses of batches, and training on them by any rule.

A course says, for each part of training, which examples come and which output stands
for which class. After each part the network is tested.
"""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import apical
from apical.claims.networks import mlp
from apical.lab.data._labels import Classes
from apical.lab.training._loss import Loss
from apical.rules import Rule

CLASSES = 10
_ANY_RATE = 1e-3  # in `init`: some rules look at the rate there


class Course(NamedTuple):
    """What a network is trained on, part by part.

    Attributes:
        places: of the training examples, `(parts, updates, batch)`.
        outputs: the output that stands for each class, `(parts, classes)`.
        counted: whether the test after a part counts, `(parts,)`.
    """

    places: np.ndarray
    outputs: np.ndarray
    counted: np.ndarray


# ---- The courses


class Shape(NamedTuple):
    """The size of a course: parts, updates in each, examples in a batch."""

    parts: int
    updates: int
    batch: int


ONLINE, LITTLE, INTERFERENCE = "online", "little data", "interference"
CONTINUAL, DRIFT = "continual", "concept drift"
TASKS = (ONLINE, LITTLE, INTERFERENCE, CONTINUAL, DRIFT)
FEW = 12  # examples of each class, with little data
_CHANGES = 4  # of the meaning of the outputs, in concept drift


def course(task: str, y: np.ndarray, shape: Shape, seed: int) -> Course:
    """The course of a task, drawn for a seed.

    Args:
        task: one of `TASKS`.
        y: the classes of the training examples.
        shape: of the course; online has batches of one example.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    size = shape._replace(batch=1) if task == ONLINE else shape
    places = np.stack(
        [
            rng.choice(_shown(task, y, part, size.parts, seed), size[1:])
            for part in range(size.parts)
        ]
    )
    counted = np.ones(size.parts, bool)
    if task == INTERFERENCE:
        counted[: size.parts // 2] = False
    return Course(places, _meanings(task, size.parts, rng), counted)


def _shown(task: str, y: np.ndarray, part: int, parts: int, seed: int) -> np.ndarray:
    """The examples that may come in a part."""
    every = np.arange(len(y))
    if task == LITTLE:
        rng = np.random.default_rng(seed)
        return np.concatenate(
            [rng.permutation(every[y == label])[:FEW] for label in range(CLASSES)]
        )
    if task == CONTINUAL:
        return every[(y < CLASSES // 2) == (part % 2 == 0)]
    if task == INTERFERENCE:
        return every[(y < CLASSES // 2) == (part < parts // 2)]
    return every


def _meanings(task: str, parts: int, rng: np.random.Generator) -> np.ndarray:
    """The output of each class; in concept drift five of them change places."""
    now, found = np.arange(CLASSES), []
    for part in range(parts):
        changes = part % max(1, parts // _CHANGES) == 0
        if task == DRIFT and part and changes:
            moved = rng.choice(CLASSES, CLASSES // 2, replace=False)
            now = now.copy()
            now[moved] = np.roll(now[moved], 1)
        found.append(now)
    return np.stack(found)


# ---- Training


class Runs(NamedTuple):
    """Arrays over the runs of a call.

    Attributes:
        keys: of the weights and the rule.
        rates: of gradient descent on the weights.
        value_rates: of predictive coding's values; other rules do not use them.
        updates: of the weights on each batch.
        places: of `Course`.
        outputs: of `Course`.
    """

    keys: Array
    rates: Array
    value_rates: Array
    updates: Array
    places: Array
    outputs: Array


class CourseTraining:
    """A compiled training of a network of sigmoids on courses.

    Args:
        rule: the rule.
        sizes: of the layers, inputs first.
    """

    def __init__(self, rule: Rule, sizes: tuple[int, ...]):
        self._rule, self._sizes = rule, sizes
        self._run = jax.jit(jax.vmap(self._one, (0, None, None, None, None)))

    def __call__(
        self, runs: Runs, x: Any, y: Any, test_x: Any, test_y: Any
    ) -> np.ndarray:
        """The test accuracy after each part `(runs, parts)`; 0 if it diverged."""
        return np.asarray(self._run(runs, x, y, test_x, test_y))

    def _one(
        self, run: Runs, x: Array, y: Array, test_x: Array, test_y: Array
    ) -> Array:
        keys = jax.random.split(run.keys)
        inputs, *hidden, classes = self._sizes
        model = mlp(jax.nn.sigmoid, *hidden)(keys[0], (inputs,), classes)
        params, static = eqx.partition(model, eqx.is_array)
        loss = Loss(static, Classes(classes), "squared-error")
        rule: Any = self._rule
        if hasattr(rule, "rate"):
            rule = replace(rule, rate=run.value_rates)

        def step_at(rate: Any) -> Any:
            optimizer = optax.sgd(rate)
            return apical.train_step(loss.training, rule, optimizer, **loss.setting)

        first = run.places[0, 0]
        state = step_at(_ANY_RATE).init(keys[1], params, None, x[first], y[first])
        step = step_at(run.rates)

        def update(outputs: Array, at: Any, place: Array) -> tuple[Any, None]:
            batch = None, x[place], outputs[y[place]]
            again = lambda _, at: step(*at, *batch)[:2]  # noqa: E731
            return jax.lax.fori_loop(0, run.updates, again, at), None

        def part(at: Any, given: tuple[Array, Array]) -> tuple[Any, Array]:
            places, outputs = given
            at, _ = jax.lax.scan(partial(update, outputs), at, places)
            found = step.predict(*at, None, test_x, test_y)
            known = jnp.all(jnp.isfinite(found))
            right = found.argmax(-1) == outputs[test_y]
            return at, known * jnp.mean(right)

        return jax.lax.scan(part, (params, state), (run.places, run.outputs))[1]
