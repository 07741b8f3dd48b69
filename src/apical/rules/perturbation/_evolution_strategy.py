"""Evolution strategy: descend the loss of a cloud of parameters around theta.

    J(theta) = E L(theta + sigma xi),     dJ/dtheta = E[L(theta + sigma xi) xi] / sigma

Salimans et al. 2017, with pairs (xi, -xi).
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from .._base import SearchSpace, rule, static
from .._checks import check_choice, check_positive, check_whole
from ._weight_space import AntitheticRule


@rule
class EvolutionStrategy(AntitheticRule):
    """The gradient of the loss averaged over a normal cloud of parameters.

        g = mean_k [F(theta + sigma xi_k) - F(theta - sigma xi_k)] xi_k / (2 sigma)

    with F the loss: unbiased for the gradient of the smoothed loss J at any sigma (for
    the loss itself up to O(sigma^2): there it is `WeightPerturbation`). With
    `fitness="rank"` F is the rank of the loss among the 2 pairs, from -1/2 to 1/2:
    no outlier counts, and the size of the update no longer follows the loss's.

    The variance is that of weight perturbation, (N + 1)/pairs for N parameters; what
    speaks for it are many pairs at once on many machines, and losses without
    derivatives (J has one).

    It is evosax's `Open_ES` (a test compares them), which brings an optimiser of its
    own; here any optax optimiser takes the gradients.

    State: a key.

    Args:
      noise: sigma, the width of the cloud, in the units of the parameters.
      pairs: how many pairs, in one mapped call.
      fitness: `"loss"`, or `"rank"`, as Salimans et al. shape it.

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

    def weighed(self, losses: jax.Array) -> jax.Array:
        """The losses, or their ranks."""
        return losses if self.fitness == "loss" else centred_ranks(losses)


def centred_ranks(losses: jax.Array) -> jax.Array:
    """The rank of each of at least two losses, from -1/2 to 1/2; ties share theirs."""
    ranks = jax.scipy.stats.rankdata(losses, axis=None) - 1
    shaped = ranks / (losses.size - 1) - 0.5
    return jnp.reshape(shaped, losses.shape).astype(losses.dtype)
