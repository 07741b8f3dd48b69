"""Straight-through estimator: spikes forward, the derivative of the rate backward.

    s = [u < p],      ds/dp := 1

Bengio, Léonard & Courville 2013.
"""

from __future__ import annotations

from typing import ClassVar

import jax

from .._base import rule, static
from ._sampling import PathwiseRule, add_gradient, check_draws, fires


@rule
class StraightThrough(PathwiseRule):
    """Backpropagate through spikes as if each were its probability.

        forward:   s = 1 with probability p, else 0
        backward:  delta_p = delta_s

    It needs one sample and one backward pass and has low variance, but a bias that does
    not vanish with the number of samples: it uses the slope of the loss at the spike in
    place of the difference between firing and not firing. The two are equal, and the
    estimate is unbiased, if the loss is linear in each single spike (as for one layer
    and a linear loss). The bias grows with the curvature of the functions after the
    spikes, and hence with their weights.

    Of the variants in the paper this is the one that multiplies by the derivative of
    the probability (sigmoid'); the other passes the signal unchanged to the drive.

    The value of the credit is the loss at the rates, `info.loss` that of the spikes.

    State: a key.

    Args:
      draws: the number of samples over which the gradient is averaged.
      readout: the number of samples over which `predict` averages; 0: `predict` uses
        the rates (each node has the value of its probability).

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     spikes = apical.bernoulli(jax.nn.sigmoid(x @ w["a"]))
      ...     return jnp.mean(spikes @ w["b"])
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.StraightThrough())
      >>> credit = learner(w, learner.init(jax.random.key(0), w, x), x)
      >>> bool(jnp.allclose(credit.grads["a"], jax.grad(loss_fn)(w, x)["a"]))
      True

    Raises:
      ValueError: in `init`, if no node is marked by `apical.bernoulli`, or if a marked
        value is not a probability.

    Source: Bengio, Léonard & Courville 2013, arXiv:1308.3432.
    """

    draws: int = static(default=1)
    readout: int = static(default=0)

    citation: ClassVar[str] = (
        "@article{bengio2013estimating, title={Estimating or Propagating Gradients "
        "Through Stochastic Neurons for Conditional Computation}, author={Bengio, "
        "Yoshua and L{\\'e}onard, Nicholas and Courville, Aaron}, "
        "journal={arXiv:1308.3432}, year={2013}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "separate phases",
        "stored activities",
        "derivative of the nonlinearity",
        "update locking",
        "signed error units",
    )

    def __post_init__(self) -> None:
        check_draws(self.draws, self.readout)

    def spike(self, probability: jax.Array, uniform: jax.Array) -> jax.Array:
        """The spike, with the derivative of its probability."""
        return add_gradient(fires(probability, uniform), probability)
