"""Bounds of weights: how potentiation and depression depend on the weight itself.

    dw = f_plus(w) (potentiation) - f_minus(w) (depression)

    additive          f = 1 within the bounds, 0 for a change that leads out of them
    multiplicative    f_plus = (1 - v)^mu_plus,   f_minus = v^mu_minus

with v = (w - low) / (high - low). The weights are those of the call.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp

from .._base import rule
from .._field_checks import check_positive


class AbstractBounds(abc.ABC):
    """How a change of a weight depends on the weight: `STDP(bounds=...)`.

    Subclass it with `@apical.rules.rule` and write `factors`.

    Attributes:
      citation: the source, as BibTeX.

    Example:
      >>> import apical
      >>> from apical.rules.tools import AbstractBounds
      >>> @apical.rules.rule
      ... class Proportional(AbstractBounds):
      ...     def factors(self, weight):
      ...         return weight, weight
      >>> rule = apical.rules.STDP(bounds=Proportional())
    """

    citation: ClassVar[str] = ""

    @abc.abstractmethod
    def factors(self, weight: jax.Array) -> tuple[Any, Any]:
        """The factors of potentiation and of depression, for each entry."""


@final
@rule
class Unbounded(AbstractBounds):
    """No dependence on the weight: additive plasticity without bounds.

    Example:
      >>> import apical
      >>> apical.rules.Unbounded().factors(None)
      (1.0, 1.0)
    """

    def factors(self, weight: jax.Array) -> tuple[float, float]:
        """1 for both."""
        del weight
        return 1.0, 1.0


@final
@rule
class AdditiveBounds(AbstractBounds):
    """No dependence on the weight within the bounds, and no change out of them.

        f_plus = 1 if w < high else 0,      f_minus = 1 if w > low else 0

    The last step may still overshoot: the step's size is the optimiser's. To keep every
    weight inside, project after the update: `optax.projections.projection_box`.

    Args:
      low: the lower bound.
      high: the upper bound.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> bounds = apical.rules.AdditiveBounds(0.0, 1.0)
      >>> plus, minus = bounds.factors(jnp.array([0.0, 0.5, 1.0]))
      >>> plus.tolist(), minus.tolist()
      ([1.0, 1.0, 0.0], [0.0, 1.0, 1.0])

    Source: Song, Miller & Abbott 2000, Nature Neuroscience.
    """

    low: float = 0.0
    high: float = 1.0

    citation: ClassVar[str] = (
        "@article{song2000competitive, title={Competitive Hebbian Learning through "
        "Spike-Timing-Dependent Synaptic Plasticity}, author={Song, Sen and Miller, "
        "Kenneth D. and Abbott, L. F.}, journal={Nature Neuroscience}, year={2000}}"
    )

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)

    def factors(self, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
        """0 where a change would lead out of the bounds."""
        plus, minus = weight < self.high, weight > self.low
        return plus.astype(weight.dtype), minus.astype(weight.dtype)


@final
@rule
class MultiplicativeBounds(AbstractBounds):
    """Changes that shrink as the weight comes near a bound.

        v = (w - low) / (high - low)
        f_plus = (1 - v)^mu_plus,     f_minus = v^mu_minus

    v is kept within [0, 1]. Exponents of 0 are the additive rule (without its bounds),
    of 1 the multiplicative one; of `mu_plus=0, mu_minus=1` additive potentiation and
    proportional depression.

    Args:
      low: the lower bound.
      high: the upper bound.
      mu_plus: the exponent of potentiation.
      mu_minus: the exponent of depression.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> bounds = apical.rules.MultiplicativeBounds(mu_plus=2.0)
      >>> plus, minus = bounds.factors(jnp.array([0.0, 0.5, 1.0]))
      >>> plus.tolist(), minus.tolist()
      ([1.0, 0.25, 0.0], [0.0, 0.5, 1.0])

    Source: van Rossum, Bi & Turrigiano 2000 (mu_plus 0, mu_minus 1); Gütig et al. 2003,
    Journal of Neuroscience 23, equations 2 and 3 (any exponent).
    """

    low: float = 0.0
    high: float = 1.0
    mu_plus: float = 1.0
    mu_minus: float = 1.0

    citation: ClassVar[str] = (
        "@article{vanrossum2000stable, title={Stable Hebbian Learning from Spike "
        "Timing-Dependent Plasticity}, author={van Rossum, M. C. W. and Bi, G. Q. and "
        "Turrigiano, G. G.}, journal={Journal of Neuroscience}, year={2000}}\n"
        "@article{gutig2003learning, title={Learning Input Correlations through "
        'Nonlinear Temporally Asymmetric Hebbian Plasticity}, author={G{\\"u}tig, R. '
        "and Aharonov, R. and Rotter, S. and Sompolinsky, H.}, journal={Journal of "
        "Neuroscience}, year={2003}}"
    )

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)
        check_positive(self.mu_plus, "mu_plus", or_zero=True)
        check_positive(self.mu_minus, "mu_minus", or_zero=True)

    def factors(self, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Powers of the distances to the bounds."""
        inside = jnp.clip((weight - self.low) / (self.high - self.low), 0.0, 1.0)
        return _power(1 - inside, self.mu_plus), _power(inside, self.mu_minus)


def _power(base: jax.Array, exponent: Any) -> jax.Array:
    """A power with a finite derivative at base 0; 0^0 is 1."""
    above = base > 0
    at_zero = jnp.where(jnp.asarray(exponent) == 0, 1.0, 0.0)
    power = jnp.where(above, base, 1.0) ** exponent
    return jnp.where(above, power, at_zero).astype(base.dtype)


def _check_order(low: Any, high: Any) -> None:
    known = all(isinstance(x, (int, float)) for x in (low, high))
    given = not (isinstance(low, bool) or isinstance(high, bool))
    if known and given and not low < high:
        raise ValueError(f"`low` must be below `high`, not {low!r} and {high!r}.")
