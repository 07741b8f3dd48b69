"""A network of two halves that is cut in the middle of training, by any rule.

    h_l = tanh((m_l * W_l)' h_{l-1} + b_l),        y = (m_L * W_L)' h_{L-1} + b_L

Pixels left of the middle belong to the left half, as do the first units of each hidden
layer and the first ten outputs; each half has an output for every class. Until the cut
m is 1; then it is 0 for each synapse from one half to the other. Signals that pass back
through a weight, or through one in its place, are multiplied by the same m.
"""

from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import apical
from apical.lab._rule_spec import RuleSpec
from apical.lab.data._dataset import Data

Params = dict[str, dict[str, Array]]
CLASSES = 10
HALVES = ("left", "right")
BATCH = 50
EARLIER = 0.8  # of the training after the cut, where it is tested as well
_ANY_RATE = 1e-3  # in `init`: some rules look at the rate there


# ---- The network


def initial(key: Array, sizes: tuple[int, ...]) -> Params:
    """Normal weights with variance 1 / fan-in, and no biases."""
    keys = jax.random.split(key, len(sizes) - 1)
    return {
        f"layer {i}": {
            "weight": jax.random.normal(k, ends) / jnp.sqrt(ends[0]),
            "bias": jnp.zeros(ends[1]),
        }
        for i, (k, ends) in enumerate(zip(keys, pairwise(sizes), strict=True))
    }


def within_halves(sizes: tuple[int, ...], left: np.ndarray) -> dict[str, Array]:
    """For each layer 1 where a synapse stays within a half, and 0 elsewhere.

    Args:
        sizes: of the layers, inputs first.
        left: whether each input belongs to the left half; of other layers it is the
            first half of the units.
    """
    sides = [left, *(np.arange(n) < n // 2 for n in sizes[1:])]
    return {
        f"layer {i}": jnp.asarray(a[:, None] == b[None, :], jnp.float32)
        for i, (a, b) in enumerate(pairwise(sides))
    }


def outputs(params: Params, kept: dict[str, Array], x: Array) -> Array:
    """The outputs `(examples, 20)`, of the left half first."""
    *hidden, last = params
    for name in hidden:
        x = jnp.tanh(_layer(params, kept, name, x))
    return _layer(params, kept, last, x)


def _layer(params: Params, kept: dict[str, Array], name: str, x: Array) -> Array:
    return x @ (params[name]["weight"] * kept[name]) + params[name]["bias"]


def loss_fn(params: Params, kept: dict[str, Array], x: Array, y: Array) -> Array:
    """Half the squared error of both halves, the mean of the examples."""
    found = apical.output(outputs(params, kept, x))
    return 0.5 * jnp.mean(jnp.sum((found - y) ** 2, axis=-1))


def targets(labels: Array) -> Array:
    """The class in one-hot form, once for each half."""
    return jnp.tile(jax.nn.one_hot(labels, CLASSES), 2)


def left_pixels(shape: tuple[int, ...]) -> np.ndarray:
    """Whether each pixel of a picture `(channels, height, width)` is in the left half.

    Example:
        >>> left_pixels((1, 1, 4)).tolist()
        [True, True, False, False]
    """
    return np.broadcast_to(np.arange(shape[-1]) < shape[-1] // 2, shape).ravel()


# ---- Training


class Runs(NamedTuple):
    """Arrays over the runs of a call.

    Attributes:
        keys: of weights, batches and the rule.
        rates: of Adam.
        numbers: of the rule, in place of its defaults.
    """

    keys: Array
    rates: Array
    numbers: dict[str, Array]


class Answers(NamedTuple):
    """Accuracies of each run; of halves as `(runs, halves)`.

    Attributes:
        whole: on the old classes before the cut, the mean of both outputs.
        function: of each half on the old classes, after the cut and before any more
            learning.
        earlier: of each half on the new classes, before the last fifth of training.
        ended: of each half on the new classes.
    """

    whole: Any
    function: Any
    earlier: Any
    ended: Any


class Classes(NamedTuple):
    """Training and scored examples of one part of the classes."""

    x: Array
    y: Array
    scored_x: Array
    scored_y: Array


def classes_of(data: Data, part: range, held_out: int) -> Classes:
    """The examples of these classes.

    Args:
        data: vectors.
        part: the classes.
        held_out: of the training examples this many are scored; 0: the test part is.
    """
    train_x, train_y = data.train_x, data.train_y
    scored_x, scored_y = data.test_x, data.test_y
    if held_out:
        scored_x, scored_y = train_x[-held_out:], train_y[-held_out:]
        train_x, train_y = train_x[:-held_out], train_y[:-held_out]
    here, there = np.isin(train_y, part), np.isin(scored_y, part)
    arrays = (train_x[here], train_y[here], scored_x[there], scored_y[there])
    return Classes(*map(jnp.asarray, arrays))


class CutTraining:
    """A compiled training by one rule: old classes, the cut, new classes.

    Args:
        spec: the rule.
        sizes: of the layers, inputs first, outputs last.
        left: whether each input belongs to the left half.
        updates: before the cut, and after it.
        frozen: whether hidden layers keep their weights from the cut on.
    """

    def __init__(
        self,
        spec: RuleSpec,
        sizes: tuple[int, ...],
        left: np.ndarray,
        updates: int,
        frozen: bool = False,
    ):
        self._spec, self._sizes, self._updates = spec, sizes, updates
        self._cut = within_halves(sizes, left)
        self._frozen = frozen
        self._run = jax.jit(jax.vmap(self._one, (0, None, None)))

    def __call__(self, runs: Runs, old: Classes, new: Classes) -> Answers:
        """The accuracies; a network that diverged has none right."""
        return jax.device_get(self._run(runs, old, new))

    def step_at(self, rate: Any, numbers: dict[str, Array]) -> Any:
        """The training step at a step size, and with these numbers of the rule."""
        rule = replace(self._spec.make(), **numbers)
        return apical.train_step(
            loss_fn,
            rule,
            optax.adam(rate),
            batch_axes=(None, 0, 0),
            target=lambda kept, x, y: y,
            input_argnums=2,
        )

    def _one(self, run: Runs, old: Classes, new: Classes) -> Answers:
        keys = jax.random.split(run.keys, 4)
        params = initial(keys[0], self._sizes)
        whole = jax.tree.map(jnp.ones_like, self._cut)
        batch = whole, old.x[:BATCH], targets(old.y[:BATCH])
        start = self.step_at(_ANY_RATE, run.numbers).init(keys[1], params, *batch)
        step = self.step_at(run.rates, run.numbers)
        at = params, start
        at = _trained(step, at, whole, old, keys[2], self._updates)
        before = _accuracies(at[0], whole, old)
        function = _accuracies(at[0], self._cut, old)
        fixed = tuple(params)[:-1] if self._frozen else ()
        first = int(EARLIER * self._updates)
        keys = jax.random.split(keys[3])
        at = _trained(step, at, self._cut, new, keys[0], first, fixed)
        earlier = _accuracies(at[0], self._cut, new)
        rest = self._updates - first
        at = _trained(step, at, self._cut, new, keys[1], rest, fixed)
        ended = _accuracies(at[0], self._cut, new)
        return Answers(before.mean(), function, earlier, ended)


def _trained(
    step: Any,
    at: tuple[Params, Any],
    kept: dict[str, Array],
    classes: Classes,
    key: Array,
    updates: int,
    fixed: tuple[str, ...] = (),
) -> tuple[Params, Any]:
    """Weights and state after this many updates; `fixed` layers keep their weights."""
    places = jax.random.randint(key, (updates, BATCH), 0, len(classes.y))

    def update(at: Any, place: Array) -> tuple[Any, None]:
        before, state = at
        batch = classes.x[place], targets(classes.y[place])
        after, state, _ = step(before, state, kept, *batch)
        after = {n: before[n] if n in fixed else layer for n, layer in after.items()}
        return (after, state), None

    return jax.lax.scan(update, at, places)[0]


def _accuracies(params: Params, kept: dict[str, Array], classes: Classes) -> Array:
    """Of the outputs of each half, the part of the scored examples that is right."""
    found = outputs(params, kept, classes.scored_x)
    known = jnp.all(jnp.isfinite(found))
    answers = found.reshape(-1, 2, CLASSES).argmax(-1)
    return jnp.mean(known & (answers == classes.scored_y[:, None]), axis=0)
