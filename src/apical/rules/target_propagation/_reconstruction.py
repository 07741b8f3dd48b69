"""Reconstruction losses: training of the inverses, by noise at the nodes.

    noise reconstruction        | G(F(s + e)) - (s + e) |^2 / 2
    difference reconstruction   -e . (G(F(s + e)) - G(F(s))) / sigma^2
                                + | G(u + h) - G(u) |^2 / (2 sigma^2)

s are the values of the nodes, F(s) the values computed from them by the forward
computation, u = F(s), and e, h normal noise of standard deviation sigma. All nodes are
held at their noisy values at once, so every inverse is trained on the nodes directly
above its node: Lee et al. 2015, equation 14; Ernoult et al. 2022, local difference
reconstruction.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ...circuit import OUTPUT, Circuit, inner, key_of_device
from .._base import rule, static
from .._field_checks import check_positive, check_whole
from .._numerics import NodeArrays, squared_norm
from ._inverse import AbstractInverse
from ._target_sites import TargetSites

LEE = (
    "@inproceedings{lee2015difference, title={Difference Target Propagation}, "
    "author={Lee, Dong-Hyun and Zhang, Saizheng and Fischer, Asja and Bengio, "
    "Yoshua}, booktitle={ECML PKDD}, year={2015}}"
)


class NodewiseForward:
    """F: the forward computation from given values of the nodes, one layer at a time.

    Attributes:
      values: the feed-forward value of every target site.
    """

    def __init__(
        self,
        circuit: Circuit,
        params: Any,
        args: Any,
        sites: TargetSites,
        values: NodeArrays,
    ) -> None:
        self.circuit, self.params, self.args = circuit, params, args
        self.sites, self.values = sites, values

    def __call__(self, values: NodeArrays) -> NodeArrays:
        """Every target site, computed from the nodes directly below it."""
        held = {n: v for n, v in values.items() if n != OUTPUT}
        given, sites = (self.params, self.args), list(self.sites.passes)
        return self.circuit.run(
            *given, tap="clamp", inject=held, sites=sites, parallel=True
        ).sites

    def noise(self, key: jax.Array, sigma: Any) -> NodeArrays:
        """Normal noise in the shape of every target site."""
        keys = jax.random.split(key, len(self.values))
        return {
            n: (sigma * jax.random.normal(key_of_device(k, v), v.shape)).astype(v.dtype)
            for k, (n, v) in zip(keys, self.values.items(), strict=True)
        }


class AbstractReconstruction(abc.ABC):
    """A training loss of the inverses of target propagation. Subclass it with `@rule`.

    The numbers of a subclass are leaves of the rule.

    Attributes:
      steps: the number of steps of the inverses in each call: a static field or a class
        attribute.
      citation: the source, as BibTeX.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> from apical.rules.tools import AbstractReconstruction
      >>> @apical.rules.rule
      ... class Plain(AbstractReconstruction):
      ...     weight: float = 1.0
      ...     steps = 1
      ...     def losses(self, inverse, weights, forward, key):
      ...         values = forward.values
      ...         again = inverse.back(weights, forward(values))
      ...         loss = lambda g, v: self.weight * jnp.sum((g - v) ** 2) / 2
      ...         return {n: loss(g, values[n]) for n, g in again.items()}
      >>> rule = apical.rules.DifferenceTargetPropagation(training=Plain())
    """

    steps: int
    citation: ClassVar[str] = ""

    @abc.abstractmethod
    def losses(
        self,
        inverse: AbstractInverse,
        weights: Any,
        forward: NodewiseForward,
        key: jax.Array,
    ) -> NodeArrays:
        """The loss of the inverse of each node that has one, summed over examples.

        Args:
          inverse: `inverse.back(weights, values)` is G_n of the values above each node.
          weights: the weights of the inverses, which descend the sum of these losses.
          forward: `forward.values`, `forward(values)` and `forward.noise(key, sigma)`.
          key: the key for the noise of one step.
        """


@rule
class NoiseReconstruction(AbstractReconstruction):
    """Train every inverse to invert the forward computation near the values.

        | G(F(s + e)) - (s + e) |^2 / 2,      e normal

    With little noise G becomes a left inverse if one exists: targets are then those of
    Gauss-Newton optimisation.

    Args:
      noise: the standard deviation of e.
      steps: how many steps the inverses take in each call, each with new noise.

    Source: Lee, Zhang, Fischer & Bengio 2015, equation 14.
    """

    noise: float = 0.1
    steps: int = static(default=1)

    citation: ClassVar[str] = LEE

    def __post_init__(self) -> None:
        check_positive(self.noise, "noise", or_zero=True)
        check_whole(self.steps, "steps")

    def losses(
        self,
        inverse: AbstractInverse,
        weights: Any,
        forward: NodewiseForward,
        key: jax.Array,
    ) -> NodeArrays:
        """The loss of each inverse, summed over examples and units."""
        noise = forward.noise(key, self.noise)
        shaken = jax.tree.map(jnp.add, forward.values, noise)
        again = inverse.back(weights, forward(shaken))
        return {n: squared_norm(g - shaken[n]) / 2 for n, g in again.items()}


@rule
class DifferenceReconstruction(AbstractReconstruction):
    """Train every inverse so that its Jacobian is the transpose of the forward one.

        -e . (G(F(s + e)) - G(u)) / sigma^2 + | G(u + h) - G(u) |^2 / (2 sigma^2)

    For little noise it is on average |J_G - J_F^T|^2 / 2, up to a constant: differences
    of targets become the signals of backpropagation. Ernoult et al. do not divide by
    the variance sigma^2; dividing makes the rate independent of it.

    Args:
      noise: the standard deviation sigma of e and h.
      steps: how many steps the inverses take in each call, each with new noise.

    Source: Ernoult et al. 2022, ICML (local difference reconstruction loss; that of
    Meulemans et al. 2020 passes through all layers).
    """

    noise: float = 0.1
    steps: int = static(default=1)

    citation: ClassVar[str] = (
        "@inproceedings{ernoult2022towards, title={Towards Scaling Difference Target "
        "Propagation by Learning Backprop Targets}, author={Ernoult, Maxence M. and "
        "Normandin, Fabrice and Moudgil, Abhinav and Spinney, Sean and Belilovsky, "
        "Eugene and Rish, Irina and Richards, Blake and Bengio, Yoshua}, "
        "booktitle={ICML}, year={2022}}"
    )

    def __post_init__(self) -> None:
        check_positive(self.noise, "noise")
        check_whole(self.steps, "steps")

    def losses(
        self,
        inverse: AbstractInverse,
        weights: Any,
        forward: NodewiseForward,
        key: jax.Array,
    ) -> NodeArrays:
        """The loss of each inverse, summed over examples and units."""
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
