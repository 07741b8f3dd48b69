"""Networks at their initial weights with a random batch, on which rules are measured.

Inputs are random, with the shapes of the data: whether a gradient is exact and what it
costs depends on the graph and the shapes, not on the content of the images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jax import Array

from apical.claims.networks import LETTERS
from apical.lab.data._labels import Classes
from apical.lab.models import MODELS
from apical.lab.training._loss import Loss


class Problem(NamedTuple):
    """A loss function with parameters, other arguments and keywords of `trace`."""

    loss_fn: Callable[..., Any]
    params: Any
    args: tuple[Any, ...]
    keywords: dict[str, Any]


@dataclass(frozen=True)
class UntrainedNetwork:
    """A network and the shapes of its batch.

    Attributes:
        build: `build(key, shape, classes)` makes the network.
        shape: of one input: `(channels, height, width)`, or `(time,)` of letters.
        classes: of its output.
        examples: in the batch.
        answers: `"one"` class for an input, or one for `"every"` letter of it.
    """

    build: Callable[..., Any]
    shape: tuple[int, ...]
    classes: int
    examples: int
    answers: str = "one"

    @cached_property
    def _built(self) -> Callable[[Array], tuple[Any, Any]]:
        """The network and its statistics from a key, compiled for many seeds."""

        def built(key: Array) -> tuple[Any, Any]:
            made = self.build(key, self.shape, self.classes)
            return made if type(made) is tuple else (made, None)

        return eqx.filter_jit(built)

    @cached_property
    def _loss(self) -> Loss:
        model, _ = self._built(jax.random.key(0))
        static = eqx.partition(model, eqx.is_array)[1]
        return Loss(static, Classes(self.classes), "squared-error")

    def problem(self, seed: int) -> Problem:
        """The loss, the initial weights of a seed, and a batch drawn from it."""
        weights, inputs, labels = jax.random.split(jax.random.key(seed), 3)
        model, statistics = self._built(weights)
        x = self._inputs(inputs)
        wanted = x.shape if self.answers == "every" else (self.examples,)
        y = jax.random.randint(labels, wanted, 0, self.classes)
        params = eqx.partition(model, eqx.is_array)[0]
        keywords = {"has_aux": True, "batch_axes": Loss.batch}
        return Problem(self._loss.training, params, (statistics, x, y), keywords)

    def _inputs(self, key: Array) -> Array:
        size = (self.examples, *self.shape)
        if len(self.shape) > 1:
            return jax.random.normal(key, size)
        letters = self.classes if self.answers == "every" else LETTERS
        return jax.random.randint(key, size, 0, letters)


def residual_network(shape: tuple[int, ...], examples: int) -> UntrainedNetwork:
    """The residual network of the lab, with batch norm."""
    return UntrainedNetwork(MODELS["resnet"].build, shape, 10, examples)


def transformer_network(time: int, examples: int) -> UntrainedNetwork:
    """The transformer of the lab: two layers of causal attention."""
    return UntrainedNetwork(MODELS["transformer"].build, (time,), 65, examples, "every")
