"""Homeostasis and normalisation: what keeps units and weights in their working range.

    synaptic scaling            dw += strength w (target - r)     r the unit's mean rate
    subtractive normalisation   dw -= mean of dw over the unit's inputs
    divisive normalisation      dw += strength (total w / sum of w - w)

each in every step of the loop.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp

from ...circuit import SynapseActivity, scan
from .._base import rule
from .._field_checks import check_positive
from ._traces import decay

# ---- Homeostasis of units.


class AbstractHomeostasis(abc.ABC):
    """What keeps the rate of a unit in range: `STDP(homeostasis=...)`.

    Subclass it with `@apical.rules.rule` and write `start` and `change`.

    Attributes:
      citation: the source, as BibTeX.
    """

    citation: ClassVar[str] = ""

    @abc.abstractmethod
    def start(self, rates: jax.Array) -> Any:
        """The state of a synapse's units, from zeros like their rates in one step."""

    @abc.abstractmethod
    def change(self, start: Any, synapse: SynapseActivity) -> tuple[Any, jax.Array]:
        """The state after the last step, and the change of the weight over all steps.

        The change is a mean over the examples.
        """


@final
@rule
class SynapticScaling(AbstractHomeostasis):
    """Scale all weights of a unit up where it is too silent, down where too active.

        r_t = r_{t-1} + (s_t - r_{t-1}) (1 - exp(-1 / tau))
        dw  = sum_t strength w (target - r_t)

    s_t is the unit's activity in step t, its mean over the examples (and positions).
    r starts at the target, and its state continues over calls, with or without
    `carry=`: it belongs to the unit, not to the batch. Weights keep their signs.

    Args:
      target: the rate, in spikes per step.
      strength: the relative change per step and unit of the rate.
      tau: the time constant of the mean rate, in steps of the loop.

    Example:
      >>> import apical
      >>> rule = apical.rules.STDP(homeostasis=apical.rules.SynapticScaling(0.05))

    Source: van Rossum, Bi & Turrigiano 2000, Journal of Neuroscience, equation 8
    (without its integral term).
    """

    target: float = 0.02
    strength: float = 0.01
    tau: float = 1000.0

    citation: ClassVar[str] = (
        "@article{vanrossum2000stable, title={Stable Hebbian Learning from Spike "
        "Timing-Dependent Plasticity}, author={van Rossum, M. C. W. and Bi, G. Q. and "
        "Turrigiano, G. G.}, journal={Journal of Neuroscience}, year={2000}}"
    )

    def __post_init__(self) -> None:
        check_positive(self.target, "target", or_zero=True)
        check_positive(self.strength, "strength", or_zero=True)
        check_positive(self.tau, "tau", or_zero=True)

    def start(self, rates: jax.Array) -> jax.Array:
        """The target."""
        return jnp.full_like(rates, self.target)

    def change(self, start: Any, synapse: SynapseActivity) -> tuple[Any, jax.Array]:
        """Scaling by the distance of the rate to its target, in every step."""
        kept = decay(self.tau).astype(start.dtype)

        def step(rate: jax.Array, now: jax.Array) -> Any:
            rate = kept * rate + (1 - kept) * now
            return rate, self.target - rate

        end, miss = scan(step, start, synapse.unit_means(synapse.post))
        return end, self.strength * synapse.weight * jnp.sum(miss, axis=0)


# ---- Normalisation of weights.


class AbstractNormalisation(abc.ABC):
    """What keeps the weights of a unit in range: `STDP(normalisation=...)`.

    Subclass it with `@apical.rules.rule` and write `constrain`.

    Attributes:
      citation: the source, as BibTeX.
    """

    citation: ClassVar[str] = ""

    @abc.abstractmethod
    def constrain(self, synapse: SynapseActivity, change: jax.Array) -> jax.Array:
        """The change of the weight, constrained.

        Args:
          synapse: with its weight; the axes that are not in `unit_axes` are those of
            the inputs of a unit.
          change: the mean over examples of the change over all steps.
        """


MILLER_MACKAY = (
    "@article{miller1994role, title={The Role of Constraints in Hebbian Learning}, "
    "author={Miller, Kenneth D. and MacKay, David J. C.}, journal={Neural Computation},"
    " year={1994}}"
)


@final
@rule
class SubtractiveNormalisation(AbstractNormalisation):
    """Subtract from each change its mean over the inputs of the unit.

        dw_ij <- dw_ij - mean_i dw_ij

    So the sum of a unit's weights stays as it is under plain gradient descent, at any
    learning rate; not under an optimiser that rescales each entry (Adam).

    Example:
      >>> import apical
      >>> rule = apical.rules.STDP(
      ...     normalisation=apical.rules.SubtractiveNormalisation())

    Source: Miller & MacKay 1994, Neural Computation, section 2.
    """

    citation: ClassVar[str] = MILLER_MACKAY

    def constrain(self, synapse: SynapseActivity, change: jax.Array) -> jax.Array:
        """The change without its mean over inputs."""
        return change - jnp.mean(change, _inputs(synapse), keepdims=True)


@final
@rule
class DivisiveNormalisation(AbstractNormalisation):
    """Draw the sum of the sizes of a unit's weights to a given total.

        dw_ij += strength (total w_ij / sum_i |w_ij| - w_ij)      in every step

    With a learning rate of 1 / (strength * steps) the weights of the call are exactly
    normalised by it. A unit whose weights are all 0 is left alone.

    Args:
      total: the sum of the sizes of a unit's weights.
      strength: the share of the distance that is covered per step.

    Example:
      >>> import apical
      >>> normal = apical.rules.DivisiveNormalisation(total=78.0)
      >>> rule = apical.rules.STDP(normalisation=normal)

    Source: Miller & MacKay 1994, Neural Computation, section 2 (multiplicative
    constraint); Diehl & Cook 2015 (the same total after each image).
    """

    total: float = 1.0
    strength: float = 0.01

    citation: ClassVar[str] = MILLER_MACKAY

    def __post_init__(self) -> None:
        check_positive(self.total, "total")
        check_positive(self.strength, "strength", or_zero=True)

    def constrain(self, synapse: SynapseActivity, change: jax.Array) -> jax.Array:
        """The change, and a pull to the total."""
        size = jnp.sum(jnp.abs(synapse.weight), _inputs(synapse), keepdims=True)
        goal = jnp.where(size > 0, self.total / jnp.where(size > 0, size, 1), 1)
        steps = synapse.post.shape[0]
        return change + steps * self.strength * (goal - 1) * synapse.weight


def _inputs(synapse: SynapseActivity) -> tuple[int, ...]:
    """The axes of a weight along which the inputs of a unit differ."""
    return tuple(a for a in range(synapse.weight.ndim) if a not in synapse.unit_axes)
