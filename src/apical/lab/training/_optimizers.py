"""Optimisers by name: those of optax and `apical.optim`, and `momentum`.

Every function of these modules whose first parameter is `learning_rate` can be named,
with arguments if needed: `sgd(momentum=0.9, nesterov=True)`.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from apical import optim
from apical.lab._call_syntax import parse_call
from apical.lab._errors import LabError, resolve_names

RATES = {
    "batch_manhattan": 1e-3,
    "adam": 3e-3,
    "adamw": 3e-3,
    "momentum": 0.05,
    "rmsprop": 1e-3,
    "sgd": 0.1,
}
_FACTOR = 30.0
_EXAMPLE = "sgd(momentum=0.9, nesterov=True)"
_WIDE = (1e-5, 1.0)


class Optimizer(NamedTuple):
    """An optimiser, its step size, and the range of step sizes to search.

    Attributes:
        make: makes the optimiser from a step size, which may be traced.
        rate: the step size.
        span: the lowest and the highest step size that a sweep tries.
    """

    make: Callable[[Any], optax.GradientTransformation]
    rate: float
    span: tuple[float, float]


def find_optimizer(text: str, rate: float | None, swept: bool = False) -> Optimizer:
    """The optimiser with this name, its step size and the range of a sweep.

    The default step size is that of `RATES`, whatever the arguments. A sweep searches
    from 30 times below to 30 times above it, or from 1e-5 to 1 where there is none.

    Args:
        text: a name, or a name with keyword arguments in parentheses.
        rate: the step size; None for the default.
        swept: whether a sweep will choose the rate, so that no default is needed.

    Returns:
        `(make, rate, span)`.

    Raises:
        LabError: for an unknown optimiser or argument, or a missing or invalid rate.

    Example:
        >>> make, rate, span = find_optimizer("sgd(momentum=0.9)", rate=None)
        >>> rate, [round(end, 4) for end in span]
        (0.1, [0.0033, 3.0])
    """
    if not isinstance(text, str):
        raise LabError(
            f"optimizer is a {type(text).__name__}: name it by a string, as "
            "'adam' or 'sgd(momentum=0.9)', and give its step size as learning_rate"
        )
    name, arguments = parse_call(text, "--optimizer", _EXAMPLE)
    makers = _makers()
    resolve_names("optimizer", [name], makers)
    make = partial(makers[name], **_checked(name, makers[name], arguments))
    default = RATES.get(name)
    span = (default / _FACTOR, default * _FACTOR) if default else _WIDE
    if rate is None:
        rate = default or (math.sqrt(span[0] * span[1]) if swept else None)
    if rate is None:
        raise LabError(
            f"--optimizer {name} has no default step size here: give one with --rate, "
            "or let a sweep choose it"
        )
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise LabError(f"--rate {rate!r}: a step size must be a number")
    if not (rate > 0 and math.isfinite(rate)):
        raise LabError(f"--rate {rate}: a step size must be above 0, and finite")
    _try(text, make)
    return Optimizer(make, rate, span)


def _makers() -> dict[str, Callable[..., optax.GradientTransformation]]:
    makers = {**_of_module(optax), **_of_module(optim)}
    return {**makers, "momentum": partial(optax.sgd, momentum=0.9)}


def _of_module(module: ModuleType) -> dict[str, Callable]:
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        # Parts of optimisers, not optimisers.
        and not name.startswith(("_", "scale_by_"))
        and next(iter(inspect.signature(value).parameters), "") == "learning_rate"
    }


def _checked(name: str, maker: Callable, arguments: dict[str, Any]) -> dict[str, Any]:
    if "learning_rate" in arguments:
        raise LabError(
            f"--optimizer {name}: the step size is given with --rate, not as an "
            "argument"
        )
    there_are = [p for p in inspect.signature(maker).parameters if p != "learning_rate"]
    if arguments:
        resolve_names(f"argument of {name}", arguments, there_are)
    return arguments


def _try(text: str, make: Callable[[Any], optax.GradientTransformation]) -> None:
    """Make one step on zeros with a traced rate, as a sweep does."""
    weights = {"weight": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}

    def step(rate: jax.Array) -> Any:
        optimizer = make(rate)
        return optimizer.update(weights, optimizer.init(weights), weights)

    try:
        jax.eval_shape(jax.vmap(step), jnp.ones(2))
    except Exception as error:
        raise LabError(
            f"--optimizer {text!r} cannot make a step from gradients alone "
            f"({type(error).__name__}: {error})"
        ) from error
