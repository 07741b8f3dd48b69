"""Amortised inference: a network predicts the inferred arguments, and learns from them.

    u_0 = g(x; psi),      psi descends  |g(x; psi) - u_T|^2 / 2

where u_T are the free arguments after T steps. In hybrid predictive coding (Tschantz et
al. 2023) a bottom-up pass initialises the values of every layer; here the forward pass
computes the values of all nodes from the predicted arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import optax

from .._field_checks import check_transformation
from .._inner_optimizers import apply_optimizer, init_optimizer
from .._numerics import fold_in_name, squared_norm
from ._latent_arguments import ArgumentMasks


class AmortisedState(NamedTuple):
    """The weights of the amortising network, and the state of their optimiser."""

    weights: Any
    optimizer: Any


@dataclass(frozen=True)
class AmortisedStart:
    """Initialise the free arguments with a network's prediction of their final values.

    Args:
      network: an object with `init(key, *args)`, which returns weights, and
        `apply(weights, *args)`, which returns a prediction of the free argument, or a
        tuple with one prediction for each free leaf, in order. flax modules have these
        methods. It is called with the arguments as given.
      optimizer: any optax transformation; it updates the weights once in each call.

    Example:
      >>> import jax, jax.numpy as jnp, optax, apical
      >>> class Linear:
      ...     def init(self, key, z, x):
      ...         return jnp.zeros((x.shape[-1], z.shape[-1]))
      ...     def apply(self, weights, z, x):
      ...         return x @ weights
      >>> def loss_fn(w, z, x):
      ...     return 0.5 * jnp.sum((jnp.tanh(z @ w["a"]) @ w["b"] - x) ** 2) / len(x)
      >>> rule = apical.rules.PredictiveCoding(
      ...     prediction="free",
      ...     free=(True, False),
      ...     amortised=apical.rules.AmortisedStart(Linear(), optax.adam(1e-2)),
      ... )
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> w = {"a": jnp.eye(2), "b": jnp.ones((2, 3))}
      >>> z, x = jnp.zeros((4, 2)), jnp.ones((4, 3))
      >>> state = learner.init(jax.random.key(0), w, z, x)
      >>> state = learner(w, state, z, x).state
      >>> bool(jnp.any(state.amortised.weights != 0))
      True

    Source: Tschantz, Millidge, Seth & Buckley 2023, PLOS Computational Biology 19.
    """

    network: Any
    optimizer: optax.GradientTransformation

    citation: ClassVar[str] = (
        "@article{tschantz2023hybrid, title={Hybrid Predictive Coding: Inferring,"
        " Fast and Slow}, author={Tschantz, Alexander and Millidge, Beren and "
        "Seth, Anil K. and Buckley, Christopher L.}, journal={PLOS Computational "
        "Biology}, volume={19}, year={2023}}"
    )

    def __post_init__(self) -> None:
        check_transformation(self.optimizer, "optimizer")
        for name in ("init", "apply"):
            if not callable(getattr(self.network, name, None)):
                raise TypeError(
                    "`network` must have `init(key, *args)` and `apply(weights, "
                    f"*args)`; a {type(self.network).__name__} has no `{name}`."
                )

    def init(self, key: jax.Array, masks: ArgumentMasks) -> AmortisedState:
        """Initialise the network; raise if the shapes of its predictions do not fit."""
        own = fold_in_name(key, "apical.AmortisedStart")
        weights = self.network.init(own, *masks.args)
        found = jax.eval_shape(lambda: self._guess(weights, masks))
        shapes, wanted = ([x.shape for x in each] for each in (found, masks.given))
        if shapes != wanted:
            raise ValueError(
                f"`network.apply` guesses arrays of shapes {shapes}, and the free "
                f"arguments have {wanted}."
            )
        return AmortisedState(weights, init_optimizer(self.optimizer, weights))

    def guess(self, state: AmortisedState, masks: ArgumentMasks) -> list[jax.Array]:
        """The initial values of the free arguments."""
        return self._guess(state.weights, masks)

    def _guess(self, weights: Any, masks: ArgumentMasks) -> list[jax.Array]:
        found = self.network.apply(weights, *masks.args)
        return list(found) if isinstance(found, (tuple, list)) else [found]

    def update(
        self,
        state: AmortisedState,
        masks: ArgumentMasks,
        found: tuple[Any, ...],
        share: float,
    ) -> AmortisedState:
        """The state after one step towards the inferred arguments."""
        leaves = jax.tree.leaves(found)
        ends = [jax.lax.stop_gradient(leaves[i]) for i in masks.masks]

        def distance(weights: Any) -> jax.Array:
            guesses = self._guess(weights, masks)
            apart = [g - e for g, e in zip(guesses, ends, strict=True)]
            return share * squared_norm(masks.kept(apart)) / 2

        slope = jax.grad(distance)(state.weights)
        moved = apply_optimizer(self.optimizer, slope, state.optimizer, state.weights)
        return AmortisedState(*moved)
