"""Evolution strategy: the gradient of the loss smoothed by normal noise in theta.

    J(theta) = E L(theta + sigma xi),     dJ/dtheta = E[L(theta + sigma xi) xi] / sigma

estimated from antithetic pairs (xi, -xi). Salimans et al. 2017.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from .._base import SearchSpace, rule, static
from .._field_checks import check_choice, check_positive, check_whole
from ._weight_estimates import AntitheticRule


@rule
class EvolutionStrategy(AntitheticRule):
    """Estimate the gradient of the loss averaged over normally distributed parameters.

        g = mean_k [F(theta + sigma xi_k) - F(theta - sigma xi_k)] xi_k / (2 sigma)

    with F the loss: unbiased for the gradient of the smoothed loss J at any sigma, and
    for that of the loss itself up to O(sigma^2), where it equals `WeightPerturbation`.
    With `fitness="rank"` F is the rank of the loss among all 2 * pairs losses, scaled
    to [-1/2, 1/2]: outliers have no influence, and the size of the update does not
    depend on that of the loss.

    The variance is that of weight perturbation, (N + 1)/pairs for N parameters. It is
    useful with many pairs on many machines, and for losses without derivatives (J is
    differentiable).

    It equals evosax's `Open_ES` (a test compares them), but works with any optimiser.

    State: a key.

    Args:
      noise: sigma, the standard deviation of the noise, in the units of the parameters.
      pairs: the number of pairs, in one mapped call.
      fitness: `"loss"`, or `"rank"` (the fitness shaping of Salimans et al.).

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((x * w) ** 4)
      >>> w, x = jnp.ones(1), jnp.ones((1, 1))
      >>> rule = apical.rules.EvolutionStrategy(noise=0.5, pairs=20000)
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> credit = learner(w, learner.init(jax.random.key(0), w, x), x)
      >>> bool(abs(credit.grads[0] - (4 + 12 * 0.5**2)) < 0.2)  # that of J, not L: 4
      True

    Raises:
      ValueError: in `init`, for parameters that are complex or of less than 32 bits.

    Source: Salimans, Ho, Chen, Sidor & Sutskever 2017, arXiv:1703.03864.
    """

    noise: float = 0.05
    pairs: int = static(default=16)
    fitness: str = static(default="loss")

    citation: ClassVar[str] = (
        "@article{salimans2017evolution, title={Evolution Strategies as a Scalable "
        "Alternative to Reinforcement Learning}, author={Salimans, Tim and Ho, "
        "Jonathan and Chen, Xi and Sidor, Szymon and Sutskever, Ilya}, "
        "journal={arXiv:1703.03864}, year={2017}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "separate phases",
        "global reward",
        "update locking",
    )
    search_space: ClassVar[SearchSpace] = {"noise": (1e-2, 0.3, "log")}

    def __post_init__(self) -> None:
        check_positive(self.noise, "noise")
        check_whole(self.pairs, "pairs")
        check_choice(self.fitness, "fitness", ("loss", "rank"))

    def fitness_of(self, losses: jax.Array) -> jax.Array:
        """The losses, or their ranks."""
        return losses if self.fitness == "loss" else centred_ranks(losses)


def centred_ranks(losses: jax.Array) -> jax.Array:
    """The rank of each of at least two losses, from -1/2 to 1/2; ties share theirs."""
    ranks = jax.scipy.stats.rankdata(losses, axis=None) - 1
    shaped = ranks / (losses.size - 1) - 0.5
    return jnp.reshape(shaped, losses.shape).astype(losses.dtype)
