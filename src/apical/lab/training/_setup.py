"""Setup shared by all rules of a comparison: configuration, initial weights, batches.

Initial weights and batch order depend on the seed alone, so that every rule starts from
the same weights and sees the same examples in the same order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import apical
from apical.lab._errors import LabError, failure
from apical.lab.data._labels import labels_of
from apical.lab.data._load import Data
from apical.lab.models import (
    Model,
    build_model,
    check_layout,
    check_model,
    check_operations,
    layout_note,
)
from apical.lab.training._loss import Loss

_HELD_OUT, _HELD_OUT_AT_MOST = 1 / 5, 10_000
_TRIED = 4  # examples on which a model from torch is compared with itself


class TrainConfig(NamedTuple):
    """Data, model and training budget: the same for every rule.

    Attributes:
        optimizer: makes the optimiser from a step size.
        shuffle: whether each epoch has a new order of examples; otherwise all epochs
            have the order of the first.
    """

    data: Data
    model_name: str
    model: Model
    optimizer: Callable[[Any], optax.GradientTransformation]
    learning_rate: float
    epochs: int
    batch_size: int
    loss: str = "cross-entropy"
    shuffle: bool = True

    @property
    def steps(self) -> int:
        """Training steps in an epoch; an incomplete last batch is left out."""
        return len(self.data.train_y) // self.batch_size


@dataclass(frozen=True)
class VmappedRuns:
    """Training runs that are mapped with `jax.vmap` in one compiled call.

    Attributes:
        seeds: of initial weights, batch order and the rule's random numbers.
        learning_rates: step sizes of the optimiser.
        numbers: hyper-parameters of the rule that replace its defaults.
    """

    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    numbers: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of runs."""
        return len(self.seeds)

    def repeated_with(self, seeds: tuple[int, ...]) -> "VmappedRuns":
        """Each run once with each of these seeds, one after the other."""
        numbers = {name: _repeated(v, len(seeds)) for name, v in self.numbers.items()}
        rates = _repeated(self.learning_rates, len(seeds))
        return VmappedRuns(seeds * self.count, rates, numbers)

    @classmethod
    def with_seeds(
        cls, seeds: tuple[int, ...], rate: float, numbers: dict[str, float]
    ) -> "VmappedRuns":
        """Runs that differ only in their seeds."""
        repeated = {name: (number,) * len(seeds) for name, number in numbers.items()}
        return cls(seeds, (rate,) * len(seeds), repeated)


def _repeated(values: tuple[float, ...], times: int) -> tuple[float, ...]:
    return tuple(value for value in values for _ in range(times))


def held_out_of(number: int) -> int:
    """How many of this many training examples are held out."""
    return max(1, min(int(_HELD_OUT * number), _HELD_OUT_AT_MOST))


def held_out(data: Data) -> Data:
    """The training set split in two: for training, and for scoring trials.

    A fifth, at most 10,000 examples, is held out: the last windows of a text; for other
    data a random draw that depends on the number of examples alone.
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


# ---- Initial weights and batch order


class TrainSetup:
    """The data on the device, the loss, and the initial weights of every seed."""

    def __init__(self, config: TrainConfig):
        data = config.data
        self.config = config
        self.x, self.y = jnp.asarray(data.train_x), jnp.asarray(data.train_y)
        params, static, statistics = self._built(0)
        self.loss = Loss(static, labels_of(data), config.loss)
        if config.model.convolves:
            self._check_layout(params, statistics)
        model = eqx.combine(params, static)
        check_operations(model, self.x[:_TRIED], config.model_name)

    @property
    def device(self) -> Any:
        """The device that holds the data."""
        return next(iter(self.x.devices()))

    @property
    def batch(self) -> tuple[jax.Array, jax.Array]:
        """The batch with which rules are initialised and alignment is measured."""
        return self.x[: self.config.batch_size], self.y[: self.config.batch_size]

    def weights(self, seeds: tuple[int, ...]) -> tuple[Any, Any]:
        """Initial parameters and running statistics, stacked over the seeds."""
        built = [self._built(seed) for seed in seeds]
        params, _, statistics = zip(*built, strict=True)
        return _stacked(params), _stacked(statistics)

    def models(self, learned: Any) -> list[Any]:
        """The model of every run, in the form in which the factory makes it.

        Args:
            learned: parameters and statistics, stacked, of each group of runs.
        """
        runs = [
            jax.tree.map(lambda leaf, i=i: leaf[i], (group.params, group.statistics))
            for group in learned
            for i in range(len(jax.tree.leaves(group.params)[0]))
        ]
        models = [eqx.combine(params, self.loss.static) for params, _ in runs]
        return [
            model if statistics is None else (model, statistics)
            for model, (_, statistics) in zip(models, runs, strict=True)
        ]

    def _check_layout(self, params: Any, statistics: Any) -> None:
        try:
            trace = apical.trace(
                self.loss.training, has_aux=True, batch_axes=self.loss.batch
            )
            circuit = trace(params, statistics, *self.batch)
        except ValueError:  # every rule refuses it too, with a message
            return
        check_layout(circuit, self.config.data, self.config.model_name)

    def _build(self, key: jax.Array) -> Any:
        data = self.config.data
        try:
            build = self.config.model.build
            return build_model(build, key, data.shape, data.classes)
        except LabError:
            raise
        except Exception as error:
            raise LabError(
                f"--model {self.config.model_name} cannot be built: its factory was "
                f"called with a key, {data.shape} and {data.classes}, and raised "
                f"{failure(error)}. {layout_note(data)}"
            ) from error

    @lru_cache(maxsize=64)  # noqa: B019 - lives as long as its comparison
    def _built(self, seed: int) -> tuple[Any, Any, Any]:
        data, key = self.config.data, jax.random.fold_in(jax.random.key(seed), 0)
        built = self._build(key)
        model, statistics = built if type(built) is tuple else (built, None)
        check_model(model, statistics, data, self.config.model_name)
        params, static = eqx.partition(model, eqx.is_array)
        return params, static, statistics


def batch_order(config: TrainConfig, seeds: tuple[int, ...], epoch: int) -> np.ndarray:
    """Which examples are in which batch: `(steps, seeds, batch size)`."""
    examples, size = len(config.data.train_y), config.steps * config.batch_size
    drawn = epoch if config.shuffle else 1

    def one_seed(seed: int) -> np.ndarray:
        order = np.random.default_rng((seed, drawn)).permutation(examples)
        return order[:size].reshape(config.steps, config.batch_size)

    orders = {seed: one_seed(seed) for seed in dict.fromkeys(seeds)}
    return np.stack([orders[seed] for seed in seeds], axis=1)


def parts(order: np.ndarray, length: int) -> Iterator[np.ndarray]:
    """The batches of an epoch, `length` at a time: one compiled call each."""
    for begin in range(0, len(order), length):
        yield order[begin : begin + length]


def _stacked(trees: tuple[Any, ...]) -> Any:
    """Stack leaf by leaf, in the structure of the first tree.

    Where a factory makes a new function for every seed, the structures do not compare
    equal, though their leaves correspond.
    """
    flat = zip(*(jax.tree.leaves(tree) for tree in trees), strict=True)
    return jax.tree.unflatten(
        jax.tree.structure(trees[0]), [jnp.stack(leaves) for leaves in flat]
    )
