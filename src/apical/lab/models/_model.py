"""`Model`: a factory of models, and how its models are run."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array

from apical.lab._errors import LabError


class Model(NamedTuple):
    """How to build a model, what it reads, and how it is run efficiently.

    A model is a callable pytree: `model(x)` returns logits,
    `(examples, classes)`, or for characters `(examples, time, classes)`. One that keeps
    running statistics (batch norm) is built as `(model, statistics)`, and
    `model(x, statistics, training)` returns the logits and the new statistics.

    Attributes:
        build: `build(key, shape of one x, classes)` makes the model.
        reads: the kinds of data that it reads.
        steps_per_call: training steps in one compiled call; 1 for convolutions, which
            XLA runs 10 to 50 times slower inside a loop on CPUs.
        convolves: whether it has convolutions.
    """

    build: Callable[[Array, tuple[int, ...], int], Any]
    reads: tuple[str, ...]
    steps_per_call: int
    convolves: bool = False


def require_halvings(name: str, shape: tuple[int, ...], times: int) -> None:
    """Refuse images that cannot be halved this many times."""
    smallest, (_, height, width) = 2**times, shape
    if min(height, width) < smallest:
        raise LabError(
            f"--model {name} halves pictures {times} times, so they must be at least "
            f"{smallest} x {smallest}; these are {height} x {width}"
        )
