"""Concrete (Gumbel-softmax) relaxation: spikes replaced by differentiable samples.

    r = sigmoid((logit(p) + logit(u)) / tau),      u uniform;      r -> [u > 1 - p]

as tau -> 0: the Gumbel-softmax of two classes. Maddison, Mnih & Teh 2017; Jang, Gu &
Poole 2017.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import logit

from .._base import SearchSpace, rule, static
from .._field_checks import check_positive
from ._sampling import PathwiseRule, add_gradient, check_draws, fires


@rule
class Concrete(PathwiseRule):
    """Backpropagate through relaxed spikes.

        r = sigmoid((logit(p) + logit(u)) / temperature),     u uniform in (0, 1)

    Consumers read r, and the gradient is exact for the relaxed network. For the spiking
    network it is biased; the bias goes to 0 with the temperature, while the variance
    grows as 1/temperature. With `hard=True` consumers read the spike [r > 1/2], with
    the derivative of r (straight-through Gumbel): this is biased at any temperature.

    The value of the credit is the loss at the rates, `info.loss` that of the spikes.

    State: a key.

    Args:
      temperature: tau, the softness of the spikes; 0.5 to 1 is usual.
      hard: whether consumers read binary spikes instead of relaxed ones.
      draws: the number of samples over which the gradient is averaged.
      readout: the number of samples over which `predict` averages; 0: `predict` uses
        the rates (each node has the value of its probability).

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x, y):
      ...     spikes = apical.bernoulli(jax.nn.sigmoid(x @ w["a"]))
      ...     return jnp.mean((spikes @ w["b"] - y) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.Concrete(temperature=0.5)
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> state = learner.init(jax.random.key(0), w, x, jnp.ones((3, 1)))
      >>> learner(w, state, x, jnp.ones((3, 1))).grads["a"].shape
      (2, 2)

    Raises:
      ValueError: in `init`, if no node is marked by `apical.bernoulli`, or if a marked
        value is not a probability.

    Source: Maddison, Mnih & Teh 2017, ICLR (equation 14); Jang, Gu & Poole 2017, ICLR.
    """

    temperature: float = 0.5
    hard: bool = static(default=False)
    draws: int = static(default=1)
    readout: int = static(default=0)

    citation: ClassVar[str] = (
        "@inproceedings{maddison2017concrete, title={The Concrete Distribution: A "
        "Continuous Relaxation of Discrete Random Variables}, author={Maddison, Chris "
        "J. and Mnih, Andriy and Teh, Yee Whye}, booktitle={ICLR}, year={2017}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "separate phases",
        "stored activities",
        "derivative of the nonlinearity",
        "update locking",
        "signed error units",
    )
    search_space: ClassVar[SearchSpace] = {"temperature": (0.1, 2.0, "log")}

    def __post_init__(self) -> None:
        check_positive(self.temperature, "temperature")
        check_draws(self.draws, self.readout)

    def spike(self, probability: jax.Array, uniform: jax.Array) -> jax.Array:
        """The relaxed spike, or the spike with the derivative of the relaxed one."""
        # The logit has no derivative where p rounds to 0 or 1.
        p, u = _inside(probability), _inside(uniform)
        # 1 - u has the same distribution as u; this sign makes r agree with `fires`.
        soft = jax.nn.sigmoid((logit(p) - logit(u)) / self.temperature)
        soft = soft.astype(probability.dtype)
        return add_gradient(fires(probability, uniform), soft) if self.hard else soft


def _inside(x: jax.Array) -> jax.Array:
    """Clipped to the open interval (0, 1); NaN stays NaN."""
    form = jnp.finfo(x.dtype)
    return jnp.clip(x, form.tiny, 1 - form.epsneg)
