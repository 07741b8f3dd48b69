"""What trains the inverses: each place learns from noise of its own.

    noise reconstruction        | G(F(s + e)) - (s + e) |^2 / 2
    difference reconstruction   -e . (G(F(s + e)) - G(F(s))) / sigma^2
                                + | G(u + h) - G(u) |^2 / (2 sigma^2)

s are the values that enter, F what the forward computation makes of them, u = F(s), and
e, h normal noise of standard deviation sigma. All nodes are held at their noisy values
at once, so that every inverse is trained by what stands directly above its node: Lee et
al. 2015, equation 14; Ernoult et al. 2022, local difference reconstruction.
"""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp

from ...circuit import OUTPUT, Circuit, inner
from .._base import rule, static
from .._checks import check_positive, check_whole
from .._numerics import squared_norm
from ._inverses import Places, Values


class Inverse(Protocol):
    """What targets come down through, at the values of one forward pass."""

    def back(self, weights: Any, above: Values) -> Values:
        """G_n of what stands above each node."""
        ...

    def changes(self, weights: Any, steps: Values, difference: bool) -> Values:
        """How far each target lies from the value."""
        ...


class Forward:
    """F: what the forward computation makes of other values of the nodes."""

    def __init__(
        self, circuit: Circuit, params: Any, args: Any, where: Places, values: Values
    ) -> None:
        self.circuit, self.params, self.args = circuit, params, args
        self.where, self.values = where, values

    def __call__(self, values: Values) -> Values:
        """Every place, computed from the nodes below it."""
        held = {n: v for n, v in values.items() if n != OUTPUT}
        given, places = (self.params, self.args), list(self.where.made)
        return self.circuit.run(
            *given, tap="clamp", inject=held, sites=places, parallel=True
        ).sites

    def noise(self, key: jax.Array, sigma: Any) -> Values:
        """Normal noise of the shape of every place."""
        keys = jax.random.split(key, len(self.values))
        return {
            n: (sigma * jax.random.normal(k, v.shape)).astype(v.dtype)
            for k, (n, v) in zip(keys, self.values.items(), strict=True)
        }


@rule
class NoiseReconstruction:
    """Train every inverse to undo the forward computation around the values.

        | G(F(s + e)) - (s + e) |^2 / 2,      e normal

    With little noise G becomes a left inverse where there is one: targets are then
    Gauss-Newton ones.

    Args:
      noise: the standard deviation of e.
      steps: how many steps the inverses take at each call, each with new noise.

    Source: Lee, Zhang, Fischer & Bengio 2015, equation 14.
    """

    noise: float = 0.1
    steps: int = static(default=1)

    def __post_init__(self) -> None:
        check_positive(self.noise, "noise", or_zero=True)
        check_whole(self.steps, "steps")

    def losses(
        self, inverse: Inverse, weights: Any, forward: Forward, key: jax.Array
    ) -> Values:
        """The loss at each node with an inverse, summed over examples and units."""
        noise = forward.noise(key, self.noise)
        shaken = jax.tree.map(jnp.add, forward.values, noise)
        again = inverse.back(weights, forward(shaken))
        return {n: squared_norm(g - shaken[n]) / 2 for n, g in again.items()}


@rule
class DifferenceReconstruction:
    """Train every inverse so that its Jacobian is the transpose of the forward one.

        -e . (G(F(s + e)) - G(u)) / sigma^2 + | G(u + h) - G(u) |^2 / (2 sigma^2)

    On average it is |J_G - J_F^T|^2 / 2 and what the weights of G do not change, for
    little noise: differences of targets become what backpropagation would send. Ernoult
    et al. do not divide by the variance sigma^2; it makes the rate independent of it.

    Args:
      noise: the standard deviation sigma of e and h.
      steps: how many steps the inverses take at each call, each with new noise.

    Source: Ernoult et al. 2022, ICML (local difference reconstruction loss); the
    difference reconstruction loss of Meulemans et al. 2020 sends it through all layers.
    """

    noise: float = 0.1
    steps: int = static(default=1)

    def __post_init__(self) -> None:
        check_positive(self.noise, "noise")
        check_whole(self.steps, "steps")

    def losses(
        self, inverse: Inverse, weights: Any, forward: Forward, key: jax.Array
    ) -> Values:
        """The loss at each node with an inverse, summed over examples and units."""
        first, second = jax.random.split(key)
        noise, values = forward.noise(first, self.noise), forward.values
        above = forward.noise(second, self.noise)
        at_rest = inverse.back(weights, values)
        moved = inverse.back(weights, forward(jax.tree.map(jnp.add, values, noise)))
        shaken = inverse.back(weights, jax.tree.map(jnp.add, values, above))

        def loss(name: str) -> jax.Array:
            agreement = inner(noise[name], moved[name] - at_rest[name])
            size = squared_norm(shaken[name] - at_rest[name])
            return (size / 2 - agreement) / self.noise**2

        return {n: loss(n) for n in at_rest}


Training = NoiseReconstruction | DifferenceReconstruction
TRAININGS: tuple[type, ...] = (NoiseReconstruction, DifferenceReconstruction)
