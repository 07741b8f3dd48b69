"""The work that every rule of a comparison is given, and the lanes it is done in."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import optax

from apical.lab._data import Data
from apical.lab.models import Model

_HELD_OUT, _HELD_OUT_AT_MOST = 1 / 5, 10_000


class Work(NamedTuple):
    """Data, model and budget: the same for every rule."""

    data: Data
    model_name: str
    model: Model
    optimizer: Callable[[Any], optax.GradientTransformation]  # of a step size
    learning_rate: float
    epochs: int
    batch_size: int
    loss: str = "cross-entropy"
    shuffle: bool = True  # anew in every epoch; else all have the order of the first

    @property
    def steps(self) -> int:
        """Training steps in an epoch; what does not fill a batch waits."""
        return len(self.data.train_y) // self.batch_size


@dataclass(frozen=True)
class Lanes:
    """Training runs made side by side in one compiled call.

    Attributes:
        seeds: of the initial weights, the order of batches and the rule's own draws.
        learning_rates: step sizes of the optimiser.
        numbers: numbers of the rule that take the place of its defaults.
    """

    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    numbers: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.seeds)

    def each_with(self, seeds: tuple[int, ...]) -> "Lanes":
        """Every lane once with each of these seeds, in a row."""
        numbers = {name: _repeated(v, len(seeds)) for name, v in self.numbers.items()}
        rates = _repeated(self.learning_rates, len(seeds))
        return Lanes(seeds * self.count, rates, numbers)

    @classmethod
    def alike(
        cls, seeds: tuple[int, ...], rate: float, numbers: dict[str, float]
    ) -> "Lanes":
        """Lanes that differ in their seeds alone."""
        repeated = {name: (number,) * len(seeds) for name, number in numbers.items()}
        return cls(seeds, (rate,) * len(seeds), repeated)


def _repeated(values: tuple[float, ...], times: int) -> tuple[float, ...]:
    return tuple(value for value in values for _ in range(times))


def held_out_of(number: int) -> int:
    """How many of so many training examples are held out."""
    return max(1, min(int(_HELD_OUT * number), _HELD_OUT_AT_MOST))


def held_out(data: Data) -> Data:
    """The training part in two: what is trained on, and what trials are scored on.

    A fifth, at most 10,000 examples, is held out: the last windows of a text, and
    elsewhere a draw that depends on nothing but the number of examples.
    """
    number = len(data.train_y)
    size = held_out_of(number)
    order = np.arange(number)
    if data.kind != "characters":
        order = np.random.default_rng(number).permutation(number)
    kept, scored = np.sort(order[:-size]), np.sort(order[-size:])
    return data._replace(
        train_x=data.train_x[kept],
        train_y=data.train_y[kept],
        test_x=data.train_x[scored],
        test_y=data.train_y[scored],
    )
