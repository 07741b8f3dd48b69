"""From a model to its loss, with or without running statistics.

A model is called as `model(x)` and returns its outputs (logits, if labels are classes);
one that keeps running statistics (batch norm) as `model(x, statistics, training)` and
returns outputs and new statistics.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax
from jax import Array

import apical
from apical.lab.data._labels import Labels


def _cross_entropy(outputs: Array, y: Array, labels: Labels) -> Array:
    del labels
    return optax.softmax_cross_entropy_with_integer_labels(outputs, y)


def _squared_error(outputs: Array, y: Array, labels: Labels) -> Array:
    return 0.5 * jnp.sum((outputs - labels.target(y)) ** 2, axis=-1)


# Of each example (and step): (outputs, y, what the labels are) -> losses.
LOSSES: dict[str, Callable[[Array, Array, Labels], Array]] = {
    "cross-entropy": _cross_entropy,
    "squared-error": _squared_error,  # half the square of the distance to the target
}


class Loss:
    """The loss of a model's arrays, as the learning rules see it.

    Args:
        static: the part of the model that is not arrays.
        labels: what the labels are.
        name: one of `LOSSES`.
    """

    # loss(params, statistics, x, y): the running statistics belong to no example.
    batch = (None, 0, 0)

    def __init__(self, static: Any, labels: Labels, name: str = "cross-entropy"):
        self.static, self.labels, self._of_each = static, labels, LOSSES[name]

    def training(
        self, params: Any, statistics: Any, x: Array, y: Array
    ) -> tuple[Array, Any]:
        """The mean loss with the statistics of the batch, and the new ones."""
        return self._loss(params, statistics, x, y, training=True)

    def evaluation(
        self, params: Any, statistics: Any, x: Array, y: Array
    ) -> tuple[Array, Any]:
        """The mean loss with the running statistics, which stay as they are."""
        return self._loss(params, statistics, x, y, training=False)

    def target(self, statistics: Any, x: Array, y: Array) -> Array:
        """What the output should be: the numbers, or 1 for the right class, else 0."""
        del statistics, x
        return self.labels.target(y)

    @property
    def setting(self) -> dict[str, Any]:
        """What `apical.train_step` and `apical.measure` are told about this loss."""
        told = {"has_aux": True, "batch_axes": self.batch, "target": self.target}
        return {**told, "input_argnums": 1}

    def _loss(
        self, params: Any, statistics: Any, x: Array, y: Array, training: bool
    ) -> tuple[Array, Any]:
        model = eqx.combine(params, self.static)
        if statistics is None:
            logits = model(x)
        else:
            logits, statistics = model(x, statistics, training)
        return self.of_each(apical.output(logits), y).mean(), statistics

    def of_each(self, outputs: Array, y: Array) -> Array:
        """The loss of each example (and step)."""
        return self._of_each(outputs, y, self.labels)
