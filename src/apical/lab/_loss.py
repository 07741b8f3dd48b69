"""From a model to its loss: cross-entropy, with or without running statistics.

A model is called as `model(x)` and returns logits; one that keeps running statistics
(batch norm) as `model(x, statistics, training)` and returns logits and new statistics.
"""

from typing import Any

import equinox as eqx
import jax
import optax
from jax import Array

import apical


class Loss:
    """The loss of a model's arrays, as the learning rules see it.

    Args:
        static: the part of the model that is not arrays.
        classes: how many classes there are.
    """

    # loss(params, statistics, x, y): the running statistics belong to no example.
    batch = (None, 0, 0)

    def __init__(self, static: Any, classes: int):
        self.static, self.classes = static, classes

    def training(
        self, params: Any, statistics: Any, x: Array, y: Array
    ) -> tuple[Array, Any]:
        """Mean cross-entropy with the statistics of the batch, and the new ones."""
        return self._loss(params, statistics, x, y, training=True)

    def evaluation(
        self, params: Any, statistics: Any, x: Array, y: Array
    ) -> tuple[Array, Any]:
        """Mean cross-entropy with the running statistics, which stay as they are."""
        return self._loss(params, statistics, x, y, training=False)

    def target(self, statistics: Any, x: Array, y: Array) -> Array:
        """What the output should be: one for the right class, nought elsewhere."""
        del statistics, x
        return jax.nn.one_hot(y, self.classes)

    @property
    def setting(self) -> dict[str, Any]:
        """What `apical.train_step` and `apical.measure` are told about this loss."""
        return {"has_aux": True, "batch": self.batch, "target": self.target}

    def _loss(
        self, params: Any, statistics: Any, x: Array, y: Array, training: bool
    ) -> tuple[Array, Any]:
        model = eqx.combine(params, self.static)
        if statistics is None:
            logits = model(x)
        else:
            logits, statistics = model(x, statistics, training)
        logits = apical.output(logits)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return losses.mean(), statistics
