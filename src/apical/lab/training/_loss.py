"""The loss of a model, with or without running statistics.

A model is called as `model(x)` and returns its outputs (logits, if labels are classes);
one that keeps running statistics (batch norm) as `model(x, statistics, training)` and
returns outputs and new statistics. Of the outputs of a sequence the loss reads those
that have a label.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax
from jax import Array

import apical
from apical.lab.data._labels import Classes, Labels


def _cross_entropy(outputs: Array, y: Array, labels: Classes) -> Array:
    classes = labels.class_of_each(y)
    return optax.softmax_cross_entropy_with_integer_labels(outputs, classes)


def _squared_error(outputs: Array, y: Array, labels: Labels) -> Array:
    return 0.5 * jnp.sum((outputs - labels.target(y)) ** 2, axis=-1)


# (outputs, y, labels) -> the loss of each example (and step of time).
LOSSES: dict[str, Callable[[Array, Array, Any], Array]] = {
    "cross-entropy": _cross_entropy,
    "squared-error": _squared_error,  # half the squared distance to the target
}


class Loss:
    """The loss as a function of a model's arrays.

    Args:
        static: the part of the model that is not arrays.
        labels: classes or numbers.
        name: one of `LOSSES`.
    """

    # Of (statistics, x, y): all examples share the running statistics.
    batch = (None, 0, 0)

    def __init__(self, static: Any, labels: Labels, name: str = "cross-entropy"):
        self.static, self.labels, self._of_each = static, labels, LOSSES[name]

    def training(
        self, params: Any, statistics: Any, x: Array, y: Array
    ) -> tuple[Array, Any]:
        """The mean loss with the statistics of the batch, and the new running ones."""
        return self._loss(params, statistics, x, y, training=True)

    def evaluation(
        self, params: Any, statistics: Any, x: Array, y: Array
    ) -> tuple[Array, Any]:
        """The mean loss with the running statistics, which do not change."""
        return self._loss(params, statistics, x, y, training=False)

    def target(self, statistics: Any, x: Array, y: Array) -> Array:
        """The target of the output: the numbers, or the class in one-hot form."""
        del statistics, x
        return self.labels.target(y)

    @property
    def setting(self) -> dict[str, Any]:
        """The arguments of `apical.train_step` that describe this loss."""
        described = {"has_aux": True, "batch_axes": self.batch, "target": self.target}
        return {**described, "input_argnums": 1}

    def _loss(
        self, params: Any, statistics: Any, x: Array, y: Array, training: bool
    ) -> tuple[Array, Any]:
        model = eqx.combine(params, self.static)
        if statistics is None:
            logits = model(x)
        else:
            logits, statistics = model(x, statistics, training)
        outputs = apical.output(self.labels.read(logits, y))
        return self.of_each(outputs, y).mean(), statistics

    def of_each(self, outputs: Array, y: Array) -> Array:
        """The loss of each example, or of each of its steps if all have a label."""
        return self.labels.averaged(self._of_each(outputs, y, self.labels), y)

    def sums(self, outputs: Array, y: Array, real: Array) -> tuple[Array, Array, Array]:
        """Sums over the examples that are real: of the loss, of the score, and of ones.

        The score is nan where some output is not finite.
        """
        losses, scores = self.of_each(outputs, y), self.labels.score_of_each(outputs, y)
        axes = (-1, *[1] * (losses.ndim - 1))
        weight = jnp.broadcast_to(real.reshape(axes), losses.shape)
        score = jnp.where(weight, scores, 0).sum()
        known = jnp.where(jnp.isfinite(outputs).all(), score, jnp.nan)
        return (losses * weight).sum(), known, weight.sum()
