"""Critics: small networks that predict a gradient.

    M(x) = x A + b,      A and b are initialised at 0

so that an untrained critic predicts 0 rather than a random gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from .._field_checks import check_whole


@runtime_checkable
class CriticLike(Protocol):
    """The protocol of a user's own critic."""

    def init(self, key: jax.Array, shape: tuple[int, ...], units: int, /) -> Any:
        """Weights for inputs of this shape, units last, and this many outputs."""
        ...

    def apply(self, weights: Any, inputs: jax.Array, /) -> jax.Array:
        """The predicted gradient, shaped as the inputs, with the node's units last."""
        ...


@dataclass(frozen=True)
class Critic:
    """A multilayer perceptron, shared by all positions of a node; initially 0.

        M(x) = rho(... rho(x A_1 + b_1) ...) A_k + b_k,      initially A_k = 0, b_k = 0

    Args:
      hidden: the widths of the hidden layers; the critic is linear if empty.
      nonlinearity: applied to the hidden layers.

    Example:
      >>> import jax, apical
      >>> critic = apical.rules.Critic(hidden=(32,), nonlinearity=jax.nn.tanh)
      >>> rule = apical.rules.SyntheticGradients(critic=critic)

    Source: Jaderberg et al. 2017, ICML, section A.3.
    """

    hidden: tuple[int, ...] = ()
    nonlinearity: Callable[[jax.Array], jax.Array] = jax.nn.relu

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for width in self.hidden:
            check_whole(width, "hidden")

    def init(self, key: jax.Array, shape: tuple[int, ...], units: int) -> Any:
        """Normal weights of size 1/sqrt(fan in), and zeros in the last layer."""
        widths = (shape[-1], *self.hidden, units)
        layers = []
        for i, (rows, columns) in enumerate(pairwise(widths)):
            size = 0.0 if i == len(self.hidden) else rows**-0.5
            drawn = jax.random.normal(jax.random.fold_in(key, i), (rows, columns))
            layers.append({"w": size * drawn, "b": jnp.zeros(columns)})
        return layers

    def apply(self, weights: Any, inputs: jax.Array) -> jax.Array:
        """The predicted gradient at each position."""
        for i, layer in enumerate(weights):
            inputs = self.nonlinearity(inputs) if i else inputs
            inputs = inputs @ layer["w"] + layer["b"]
        return inputs


@dataclass(frozen=True)
class FunctionPair:
    """A critic from two functions."""

    init: Callable[[jax.Array, tuple[int, ...], int], Any]
    apply: Callable[[Any, jax.Array], jax.Array]


def as_critic(given: Any) -> CriticLike:
    """The critic given by a rule's field: a critic, or a pair of functions."""
    if isinstance(given, tuple) and len(given) == 2 and all(map(callable, given)):
        return FunctionPair(*given)
    if isinstance(given, CriticLike) and not isinstance(given, type):
        return given
    raise TypeError(
        "`critic` must be `apical.rules.Critic()`, or a pair of functions `(init, "
        "apply)`: `init(key, shape, units)` makes weights for inputs of this shape, "
        "`apply(weights, inputs)` gives `units` numbers at each position; not "
        f"{given!r}."
    )


def weights_for(
    critic: CriticLike,
    key: jax.Array,
    inputs: jax.ShapeDtypeStruct,
    units: int,
    where: str,
) -> Any:
    """The weights of a critic; raises if its output has another shape."""
    weights = critic.init(key, inputs.shape, units)
    made = jax.eval_shape(critic.apply, weights, inputs)
    wanted = (*inputs.shape[:-1], units)
    if jnp.shape(made) != wanted:
        raise ValueError(
            f"`critic` returns shape {jnp.shape(made)} at {where}, and the gradient "
            f"there has shape {wanted} (units last)."
        )
    return weights
