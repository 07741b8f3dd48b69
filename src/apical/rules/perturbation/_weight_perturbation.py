"""Weight perturbation: noise in all parameters, times the change of the loss.

    g = mean_k [L(theta + sigma xi_k) - L(theta - sigma xi_k)] xi_k / (2 sigma)

All parameters are perturbed at once, as in Cauwenberghs 1993, so that the variance
grows with their number and the cost does not. (Jabri & Flower 1992 perturb one at a
time.)
"""

from __future__ import annotations

from typing import ClassVar

from .._base import SearchSpace, cited, rule, static
from .._field_checks import check_choice, check_positive, check_whole
from ._random_directions import KINDS
from ._weight_estimates import AntitheticRule


@rule
class WeightPerturbation(AntitheticRule):
    """Correlate noise in the parameters with the change of the loss.

        g = mean_k [L(theta + sigma xi_k) - L(theta - sigma xi_k)] xi_k / (2 sigma)

    Its mean is the gradient up to O(sigma^2). Its variance grows with the number of
    parameters N: E|g - dL/dtheta|^2 = (N - 1)/pairs |dL/dtheta|^2 for signs, and
    (N + 1)/pairs for normal noise. So it needs learning rates about N times smaller
    than gradient descent, and is practical only for small networks. It needs only the
    value of the loss, so it supports every model.

    State: a key.

    Args:
      noise: sigma, the size of the perturbation, in the units of the parameters.
      pairs: the number of pairs (theta + sigma xi, theta - sigma xi), in one mapped
        call.
      kind: `"sign"`: noise of one size and random sign (Cauwenberghs), ten times faster
        to draw; or `"normal"` noise.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((x @ w) ** 2)
      >>> w, x = jnp.ones((2, 1)), jnp.eye(2)
      >>> rule = apical.rules.WeightPerturbation(pairs=2000)
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> credit = learner(w, learner.init(jax.random.key(0), w, x), x)
      >>> bool(jnp.allclose(credit.grads, jax.grad(loss_fn)(w, x), atol=0.1))
      True

    Raises:
      ValueError: in `init`, for parameters that are complex or of less than 32 bits.

    Source: Cauwenberghs 1993, NeurIPS; Spall 1992, IEEE Transactions on Automatic
    Control 37(3). (Jabri & Flower 1992 move one weight at a time.)
    """

    noise: float = 0.01
    pairs: int = static(default=1)
    kind: str = static(default="sign")

    citation: ClassVar[str] = cited(
        "@inproceedings{cauwenberghs1993fast, title={A Fast Stochastic "
        "Error-Descent Algorithm for Supervised Learning and Optimization}, "
        "author={Cauwenberghs, Gert}, booktitle={NeurIPS}, year={1993}}",
        "@article{spall1992multivariate, title={Multivariate Stochastic "
        "Approximation Using a Simultaneous Perturbation Gradient Approximation},"
        " author={Spall, James C.}, journal={IEEE Transactions on Automatic "
        "Control}, volume={37}, number={3}, year={1992}}",
    )
    needs: ClassVar[tuple[str, ...]] = (
        "separate phases",
        "global reward",
        "update locking",
    )
    search_space: ClassVar[SearchSpace] = {"noise": (1e-3, 0.1, "log")}

    def __post_init__(self) -> None:
        check_positive(self.noise, "noise")
        check_whole(self.pairs, "pairs")
        check_choice(self.kind, "kind", KINDS)

    @property
    def directions(self) -> str:
        """The kind of the noise."""
        return self.kind
