"""Node perturbation: noise in the activities, times the change of the loss.

    delta_n = [L_i(+sigma xi) - L_i(-sigma xi)] xi_n / (2 sigma)     for each example i

with noise at all nodes and at the output at once. Fiete & Seung 2006.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ...circuit import Circuit
from .._base import Credit, Rule, SearchSpace, rule, static
from .._field_checks import check_choice, check_positive, check_whole
from .._numerics import NodeArrays, fold_in_name
from ._activity_estimates import (
    ActivityEstimate,
    Losses,
    credit_of,
    estimate,
    node_types,
    perturbed_sites,
    require_perturbable,
    signals_of,
)
from ._random_directions import KINDS, require_precise


@rule
class NodePerturbation(Rule):
    """Correlate noise at the nodes with the change of that example's loss.

        delta_n = mean_k [L_i(+sigma xi_k) - L_i(-sigma xi_k)] xi_kn / (2 sigma)

    for each example i and every node n, including the output; the gradient is the
    pull-back of delta_n to the node's parameters. Parameters that the loss uses after
    the output (a temperature, a weight decay) take their true gradient.

    Its mean is the true teaching signal up to O(sigma^2). Its variance grows with the
    number N of perturbed entries of one example (units, times steps and pixels), not
    with that of weights: E|delta - dL_i/dn|^2 = (N - 1)/pairs |dL_i/dn|^2 for signs,
    and (N + 1)/pairs for normal noise. The mean over a batch of B examples divides the
    variance of the gradient by about B. It trains small networks well; learning slows
    down in proportion to width, depth and steps.

    State: a key.

    Args:
      noise: sigma, the size of the perturbation, in the units of the activities.
      pairs: the number of pairs (+xi, -xi), in one mapped call.
      at: `"value"`: the noise is added to the value that consumers read, and the
        pull-back multiplies by rho'. `"drive"`: the noise is added to z, before the
        nonlinearity, as in Fiete & Seung, and rho' is not needed; step and sign
        functions require this option. (At a node without a drive, such as a residual
        stream, the noise is added to the value.)
      kind: `"sign"`: noise of one size and random sign, ten times faster to draw; or
        `"normal"` noise, as in the sources.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.NodePerturbation(pairs=3000)
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> credit = learner(w, learner.init(jax.random.key(0), w, x), x)
      >>> bool(jnp.allclose(credit.grads["a"], jax.grad(loss_fn)(w, x)["a"], atol=0.1))
      True

    Raises:
      ValueError: in `init`, if there is no output, or a node comes after it; if
        examples depend on each other (batch normalisation, a contrastive loss); for
        activities that are complex or have less than 32 bits.

    Source: Fiete & Seung 2006, Physical Review Letters 97:048104; Werfel, Xie & Seung
    2005, Neural Computation 17 (growth of the variance).
    """

    noise: float = 0.01
    pairs: int = static(default=1)
    at: str = static(default="value")
    kind: str = static(default="sign")

    citation: ClassVar[str] = (
        "@article{fiete2006gradient, title={Gradient Learning in Spiking Neural "
        "Networks by Dynamic Perturbation of Conductances}, author={Fiete, Ila R. and "
        "Seung, H. Sebastian}, journal={Physical Review Letters}, volume={97}, "
        "pages={048104}, year={2006}}"
    )
    search_space: ClassVar[SearchSpace] = {"noise": (1e-3, 0.1, "log")}

    @property
    def needs(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> tuple[str, ...]:
        """Noise at the drive needs no derivative of the nonlinearity."""
        found = ("separate phases", "global reward", "stored activities")
        found = (*found, "update locking")
        return found if self.at == "drive" else (*found, _DERIVATIVE)

    def __post_init__(self) -> None:
        check_positive(self.noise, "noise")
        check_whole(self.pairs, "pairs")
        check_choice(self.at, "at", ("value", "drive"))
        check_choice(self.kind, "kind", KINDS)

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """A key, with the rule's name folded in."""
        perturbed_sites(circuit, self.at)
        require_perturbable(circuit, params, args, "NodePerturbation")
        require_precise(node_types(circuit), "NodePerturbation")
        return fold_in_name(key, "apical.NodePerturbation")

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Two losses of each example for each pair, all in one mapped call."""
        now, later = jax.random.split(state)
        return credit_of(self._estimate(circuit, params, now, args), later)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The estimate at each node: at its drive, if the noise is there."""
        found = self._estimate(circuit, params, jax.random.split(state)[0], args)
        return signals_of(
            circuit, params, args, found, perturbed_sites(circuit, self.at)
        )

    def _estimate(
        self, circuit: Circuit, params: Any, key: jax.Array, args: Any
    ) -> ActivityEstimate:
        return estimate(
            circuit,
            params,
            args,
            key,
            sites=perturbed_sites(circuit, self.at),
            count=self.pairs,
            kind=self.kind,
            slopes_of=partial(differences, size=self.noise),
        )


def differences(losses: Losses, directions: NodeArrays, size: Any) -> jax.Array:
    """Central differences of every loss: `[K, examples + 1]`."""

    def moved(direction: NodeArrays, step: Any) -> jax.Array:
        return losses({n: (step * u).astype(u.dtype) for n, u in direction.items()})

    steps = size * jnp.array([1.0, -1.0])
    both_steps = jax.vmap(moved, in_axes=(None, 0))
    found = jax.vmap(both_steps, in_axes=(0, None))(directions, steps)
    return (found[:, 0] - found[:, 1]) / (2 * size)


_DERIVATIVE = "derivative of the nonlinearity"
