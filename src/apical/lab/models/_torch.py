"""Modules of torch that a factory returns, as models in JAX."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from apical import interop
from apical.lab._errors import LabError

Build = Callable[[jax.Array, tuple[int, ...], int], Any]


def build_model(
    build: Build, key: jax.Array, shape: tuple[int, ...], classes: int
) -> Any:
    """What a factory makes, for which a `torch.nn.Module` is a model as any other.

    A module becomes `apical.interop.torch.as_model` of it. torch draws initial weights
    from a generator of its own, which is seeded from the key while the factory runs.

    Args:
        build: the factory.
        key: of the initial weights.
        shape: the shape of one x.
        classes: the number of outputs.
    """
    if "torch" not in sys.modules:  # then most factories have nothing to do with torch
        model = build(key, shape, classes)
        if not _is_module(model):
            return model
    with _seeded(sys.modules["torch"], key):
        model = build(key, shape, classes)
    if not _is_module(model):
        return model
    return interop.torch.as_model(model, jax.random.fold_in(key, 1))


def check_operations(model: Any, x: Any, name: str) -> None:
    """Refuse a model from torch that computes other numbers in JAX than in torch.

    Args:
        model: the model; those that are not from torch pass.
        x: a few examples.
        name: the model's name, for messages.

    Raises:
        LabError: naming the first part of the module that differs.
    """
    room = sys.modules.get("apical.interop.torch")
    if room is None or not isinstance(model, room.Model):
        return
    try:
        room.check(model.module, lambda module, x: module(x).square().mean(), x)
    except ValueError as error:
        raise LabError(f"{name}: {error}") from error


def _is_module(model: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


@contextmanager
def _seeded(torch: Any, key: jax.Array) -> Iterator[None]:
    """Torch's generator seeded from a key, and put back afterwards."""
    high, low = np.asarray(jax.random.key_data(key)).ravel()[-2:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((int(high) << 31) ^ int(low))
        yield
