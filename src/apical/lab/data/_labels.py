"""Kinds of labels, classes or numbers: the target of the output, the score, the losses.

| labels  | target of the output         | score of a test set                  |
|---------|------------------------------|--------------------------------------|
| classes | one-hot                      | accuracy                             |
| numbers | the numbers                  | R² = 1 - sum (y - out)² / sum (y - mean y)² |

With several numbers per label, R² is the mean over them.
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
    """Labels that are classes, from 0 to `count - 1`."""

    count: int
    score: ClassVar[Score] = ACCURACY
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy", "squared-error")

    def target(self, y: Array) -> Array:
        """The target of the output."""
        return jax.nn.one_hot(y, self.count)

    def score_of_each(self, outputs: Array, y: Array) -> Array:
        """1 for each correct example, else 0; the mean is the score."""
        return outputs.argmax(-1) == y


@dataclass(frozen=True)
class Numbers:
    """Labels that are numbers, with their variance in the test set."""

    variance: tuple[float, ...]
    score: ClassVar[Score] = R2
    losses: ClassVar[tuple[str, ...]] = ("squared-error",)

    def target(self, y: Array) -> Array:
        """The target of the output."""
        return y

    def score_of_each(self, outputs: Array, y: Array) -> Array:
        """The contribution of each example; the mean is the score."""
        return 1 - jnp.mean((outputs - y) ** 2 / jnp.asarray(self.variance), axis=-1)


Labels = Classes | Numbers


def labels_of(data: Data) -> Labels:
    """The kind of labels of a data set: numbers if they are floating-point."""
    if data.has_numbers:
        return Numbers(tuple(np.var(data.test_y, axis=0, dtype=float).tolist()))
    return Classes(int(data.classes))


def score_in(line: Mapping[str, Any]) -> Score:
    """The kind of score in a line of a comparison."""
    return _SCORES[line.get("score", ACCURACY.field)]


def scored(line: Mapping[str, Any], part: str = TEST) -> Any:
    """The value of the score in a line, or None."""
    return line[f"{part}_{score_in(line).field}"]
