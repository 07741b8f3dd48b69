"""Kinds of labels, classes or numbers: the target of the output, the score, the losses.

| labels  | target of the output         | score of a test set                  |
|---------|------------------------------|--------------------------------------|
| classes | one-hot                      | accuracy                             |
| numbers | the numbers                  | R² = 1 - sum (y - out)² / sum (y - mean y)² |

With several numbers per label, R² is the mean over them. A label of a sequence is about
the output after the last step, or about a part of the steps:

    loss of an example = mean of the loss over the steps of all parts that have a label
    answer of a part = the class with the largest mean output over its steps
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from apical.lab.data._dataset import Data


class Score(NamedTuple):
    """A measure of performance with maximum 1, shown in percent.

    Attributes:
        field: its name in result files, after `test_` and `held_out_`.
        name: its name in tables and figures.
        phrase: the words before and after the percentage in a sentence.
    """

    field: str
    name: str
    phrase: tuple[str, str]


TEST, HELD_OUT = "test", "held_out"
ACCURACY = Score("accuracy", "accuracy", ("was right on", "of the test set"))
R2 = Score("r2", "R²", ("explained", "of the variance of the test set"))
_SCORES = {score.field: score for score in (ACCURACY, R2)}


@dataclass(frozen=True)
class Classes:
    """Labels that are classes, from 0 to `count - 1`.

    Attributes:
        count: how many.
        last: whether a label is about the last of the steps of time alone.
    """

    count: int
    last: bool = False
    score: ClassVar[Score] = ACCURACY
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy", "squared-error")

    def read(self, outputs: Array, y: Array) -> Array:
        """The outputs of a model that have a label."""
        del y
        return outputs[:, -1] if self.last else outputs

    def class_of_each(self, y: Array) -> Array:
        """The class of each output."""
        return y

    def target(self, y: Array) -> Array:
        """The target of the output."""
        return jax.nn.one_hot(y, self.count)

    def averaged(self, losses: Array, y: Array) -> Array:
        """The losses whose mean is the loss, from those of each output."""
        del y
        return losses

    def score_of_each(self, outputs: Array, y: Array) -> Array:
        """1 for each correct example, else 0; the mean is the score."""
        return outputs.argmax(-1) == y


@dataclass(frozen=True)
class PartClasses(Classes):
    """Classes of equal parts of a sequence, -1 where a part has no label.

    Outputs of parts without a label are replaced by 0, and so is their target.

    Attributes:
        steps: how many steps a part has.
    """

    steps: int = 1

    def read(self, outputs: Array, y: Array) -> Array:
        """The outputs `(examples, time, classes)`, 0 where there is no label."""
        return jnp.where(self._of_steps(y >= 0)[..., None], outputs, 0)

    def class_of_each(self, y: Array) -> Array:
        """The class of each step; 0 where there is none."""
        return self._of_steps(jnp.maximum(y, 0))

    def target(self, y: Array) -> Array:
        """One-hot at each step of a part with a label, else 0."""
        return self._of_steps(jax.nn.one_hot(y, self.count))  # of -1 it is 0

    def averaged(self, losses: Array, y: Array) -> Array:
        """The loss of each example, the mean over the steps that have a label."""
        asked = self._of_steps(y >= 0)
        return jnp.where(asked, losses, 0).sum(1) / asked.sum(1)

    def score_of_each(self, outputs: Array, y: Array) -> Array:
        """The share of correct answers of each example; the mean is the score."""
        parts = outputs.reshape(*y.shape, self.steps, self.count).mean(2)
        asked = y >= 0
        return (asked & (parts.argmax(-1) == y)).sum(1) / asked.sum(1)

    def _of_steps(self, of_parts: Array) -> Array:
        return jnp.repeat(of_parts, self.steps, axis=1)


@dataclass(frozen=True)
class Numbers:
    """Labels that are numbers, with their variance in the test set.

    Attributes:
        variance: of each number.
        last: whether a label is about the last of the steps of time alone.
    """

    variance: tuple[float, ...]
    last: bool = False
    score: ClassVar[Score] = R2
    losses: ClassVar[tuple[str, ...]] = ("squared-error",)

    def read(self, outputs: Array, y: Array) -> Array:
        """The outputs of a model that have a label."""
        del y
        return outputs[:, -1] if self.last else outputs

    def target(self, y: Array) -> Array:
        """The target of the output."""
        return y

    def averaged(self, losses: Array, y: Array) -> Array:
        """The losses whose mean is the loss, from those of each output."""
        del y
        return losses

    def score_of_each(self, outputs: Array, y: Array) -> Array:
        """The contribution of each example; the mean is the score."""
        return 1 - jnp.mean((outputs - y) ** 2 / jnp.asarray(self.variance), axis=-1)


Labels = Classes | Numbers


def labels_of(data: Data) -> Labels:
    """The kind of labels of a data set: numbers if they are floating-point.

    Labels of sequences are about the last step, or about parts if there is an axis of
    them.
    """
    last = data.kind == "sequences"
    if data.has_numbers:
        variance = np.var(data.test_y, axis=0, dtype=float)
        return Numbers(tuple(variance.tolist()), last)
    if last and data.train_y.ndim == 2:
        steps = data.shape[0] // data.train_y.shape[1]
        return PartClasses(int(data.classes), steps=steps)
    return Classes(int(data.classes), last)


def score_in(line: Mapping[str, Any]) -> Score:
    """The kind of score in a line of a comparison."""
    return _SCORES[line.get("score", ACCURACY.field)]


def scored(line: Mapping[str, Any], part: str = TEST) -> Any:
    """The value of the score in a line, or None."""
    return line[f"{part}_{score_in(line).field}"]
