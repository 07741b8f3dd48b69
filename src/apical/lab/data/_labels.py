"""What labels are, classes or numbers, and what follows for the output and its score.

| labels  | outputs should be            | the score of a test part             |
|---------|------------------------------|--------------------------------------|
| classes | 1 for the right one, 0 for others | accuracy: the share that is right |
| numbers | the numbers                  | R² = 1 - sum (y - out)² / sum (y - mean y)² |

With several numbers in a label, R² is the mean of theirs.
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
    """How well a model does, as 1 at best; shown in percent.

    Attributes:
        field: its name in the files, after `test_` and `held_out_`.
        name: what it is called where it is shown.
        said: what a model with it did, around the number in percent.
    """

    field: str
    name: str
    said: tuple[str, str]


TEST, HELD_OUT = "test", "held_out"
ACCURACY = Score("accuracy", "accuracy", ("was right on", "of the test part"))
R2 = Score("r2", "R²", ("explained", "of the variance of the test part"))
_SCORES = {score.field: score for score in (ACCURACY, R2)}


@dataclass(frozen=True)
class Classes:
    """Labels that are classes, 0 to `count - 1`."""

    count: int
    score: ClassVar[Score] = ACCURACY
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy", "squared-error")

    def target(self, y: Array) -> Array:
        """What the output should be."""
        return jax.nn.one_hot(y, self.count)

    def score_of_each(self, outputs: Array, y: Array) -> Array:
        """Whether each is right; their mean is the score."""
        return outputs.argmax(-1) == y


@dataclass(frozen=True)
class Numbers:
    """Labels that are numbers; `variance` is theirs in the test part."""

    variance: tuple[float, ...]
    score: ClassVar[Score] = R2
    losses: ClassVar[tuple[str, ...]] = ("squared-error",)

    def target(self, y: Array) -> Array:
        """What the output should be."""
        return y

    def score_of_each(self, outputs: Array, y: Array) -> Array:
        """What each adds to the score, which is their mean."""
        return 1 - jnp.mean((outputs - y) ** 2 / jnp.asarray(self.variance), axis=-1)


Labels = Classes | Numbers


def labels_of(data: Data) -> Labels:
    """What the labels of a set are: numbers if they are floating-point numbers."""
    if data.has_numbers:
        return Numbers(tuple(np.var(data.test_y, axis=0, dtype=float).tolist()))
    return Classes(int(data.classes))


def score_in(line: Mapping[str, Any]) -> Score:
    """The score that a line of a comparison holds."""
    return _SCORES[line.get("score", ACCURACY.field)]


def scored(line: Mapping[str, Any], part: str = TEST) -> Any:
    """The score in a line; None where there is none."""
    return line[f"{part}_{score_in(line).field}"]
