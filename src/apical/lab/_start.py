"""What every rule of a comparison has in common: the work, and where it starts.

Initial weights and batch order depend on the seed alone, so that every rule starts
from the same weights and sees the same pictures in the same order.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from apical.lab._data import Data
from apical.lab._models import MODELS


class Setting(NamedTuple):
    """What every rule of a comparison has in common."""

    data: Data
    model: str
    optimizer: Callable[[float], Any]
    rate: float
    epochs: int
    batch_size: int
    seeds: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Training steps in an epoch; what does not fill a batch waits."""
        return len(self.data.train_y) // self.batch_size


class Start:
    """What every rule starts from: pictures on the device, and the same weights."""

    def __init__(self, setting: Setting):
        data = setting.data
        self.setting = setting
        self.x, self.y = jnp.asarray(data.train_x), jnp.asarray(data.train_y)
        self.keys = jax.vmap(jax.random.key)(jnp.asarray(setting.seeds))
        self.params, self.running = jax.vmap(self._weights)(self.keys)

    @property
    def batch(self) -> tuple[jax.Array, jax.Array]:
        """The batch on which rules are set up and their alignment is measured."""
        return self.x[: self.setting.batch_size], self.y[: self.setting.batch_size]

    def _weights(self, key: jax.Array) -> tuple[Any, Any]:
        data = self.setting.data
        build = MODELS[self.setting.model].build
        return build(jax.random.fold_in(key, 0), data.shape, data.classes)


def seed_groups(setting: Setting) -> list[slice]:
    """Which seeds are trained together in one compiled call: all, where that pays.

    A convolution with weights of its own for each seed becomes a grouped convolution,
    which XLA runs slowly on CPUs: 1.2 times faster a seed on pictures of 8 x 8, but 3
    to 4 times slower on those of 28 x 28 and 32 x 32.
    """
    seeds, (_, height, width) = len(setting.seeds), setting.data.shape
    small = height * width <= 8 * 8
    if small or not MODELS[setting.model].convolves or jax.default_backend() != "cpu":
        return [slice(0, seeds)]
    return [slice(i, i + 1) for i in range(seeds)]


def parts(setting: Setting, epoch: int) -> Iterator[np.ndarray]:
    """The batches of an epoch, so many at a time as one compiled call takes."""
    order = batch_order(setting, epoch)
    length = MODELS[setting.model].steps_per_call
    for begin in range(0, len(order), length):
        yield order[begin : begin + length]


def batch_order(setting: Setting, epoch: int) -> np.ndarray:
    """Which examples are in which batch: `(steps, seeds, batch size)`."""
    size = setting.steps * setting.batch_size

    def one_seed(seed: int) -> np.ndarray:
        order = np.random.default_rng((seed, epoch)).permutation(
            len(setting.data.train_y)
        )
        return order[:size].reshape(setting.steps, setting.batch_size)

    return np.stack([one_seed(seed) for seed in setting.seeds], axis=1)
