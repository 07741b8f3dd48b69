"""Optimisers by name, each with the step size it gets when none is asked for."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import optax

from apical.lab._errors import LabError, known


class Optimizer(NamedTuple):
    """How to make an optimiser from a step size, and a step size that is not silly."""

    make: Callable[[float], optax.GradientTransformation]
    rate: float


OPTIMIZERS: dict[str, Optimizer] = {
    "adam": Optimizer(optax.adam, 3e-3),
    "adamw": Optimizer(optax.adamw, 3e-3),
    "momentum": Optimizer(partial(optax.sgd, momentum=0.9), 0.05),
    "rmsprop": Optimizer(optax.rmsprop, 1e-3),
    "sgd": Optimizer(optax.sgd, 0.1),
}


def find_optimizer(name: str, rate: float | None) -> tuple[Optimizer, float]:
    """The optimiser with this name, and the step size to use."""
    (name,) = known("optimizer", [name], OPTIMIZERS)
    optimizer = OPTIMIZERS[name]
    if rate is None:
        return optimizer, optimizer.rate
    if not rate > 0:
        raise LabError(f"--rate {rate}: a step size must be above 0")
    return optimizer, rate
