"""Weight mirrors: feedback weights learn the forward weights from noise.

    y = W x,     B <- (1 - lambda) B + eta E[x y^T],     x random, of variance s^2

so that E[x y^T] = s^2 W^T and B converges to (eta s^2 / lambda) W^T, although no weight
is copied. Akrout et al. 2019.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit, key_of_device
from .._base import Credit, SearchSpace, rule
from .._field_checks import check_fraction, check_positive
from .._numerics import fold_in_name
from ._backward_path import BackwardPathRule
from ._connection_masks import Connections
from ._feedback_weights import (
    draw_leaves,
    like_forward,
    require_different,
    require_direct,
)


class MirrorState(NamedTuple):
    """Feedback weights phi, the key of the next noise, and the connection masks.

    The weight of a removed backward connection is learned, but not used.
    """

    feedback: Any
    key: jax.Array
    connections: Connections = Connections()


@rule
class WeightMirror(BackwardPathRule):
    """Send noise through each synapse and correlate its output with its input.

        B <- (1 - decay) B + mirror_rate <x y^T>,      y = W x

    Each call passes the teaching signal back through B (as `FeedbackAlignment` does),
    and then takes one mirror step at every synapse: x is normal, of the shape of the
    synapse's input and of standard deviation `noise`, y is the synapse's output for x,
    and <x y^T> is their product, averaged for each weight over the examples, positions
    and steps at which that weight is used. With constant weights,

        B -> alpha W,      alpha = mirror_rate noise^2 / decay

    The average over these products, and over about 1/decay calls, leaves a relative
    error of about sqrt(decay fan_in / (2 uses)). A mirror step costs about as much as a
    step of backpropagation.

    Akrout et al. send noise to a layer of units and correlate their firing rates, after
    bias and nonlinearity; here only the synapse is used, so that the limit is exact.
    Every synapse receives independent noise (noise that has passed a layer is not
    independent), which together with the decay keeps B bounded at any width and depth:
    no rescaling is needed.

    State: B and a key. A weight shared by several synapses, or by the steps of a loop,
    has one B, updated by the mean over all of its uses. In a branch of a `lax.cond`
    that is not taken, B does not change.

    Args:
      mirror_rate: the factor of <x y^T> in the update of each call.
      decay: the fraction of B that is lost at each call.
      noise: the standard deviation of x; only its square times `mirror_rate` matters.
      removed_forward: the fraction of forward connections that are removed: their
        weights act as 0 and have gradient 0.
      removed_backward: the fraction of backward connections that are removed.
      backward_noise: the standard deviation of the noise in feedback weights, drawn
        anew at every call, relative to their size.
      frozen_feedback: which frozen networks have feedback weights of their own: True
        for all, False for none, or a tuple of the positions of arguments after `params`
        (None in `batch_axes`), and of `"constants"` for what the loss function closes
        over. None: none, with a warning. The trees in the state are then
        `WithFrozen(params, frozen)`.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.array([[2.0], [-1]])}, jnp.ones((9000, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.WeightMirror(1.0, 1.0))
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> state = learner(w, state, x).state  # decay 1: B depends on this step only
      >>> bool(jnp.allclose(state.feedback["b"], w["b"], atol=0.1))
      True

    Raises:
      ValueError: in `init`, where an effective weight is computed (not one leaf,
        rearranged), or cannot be given feedback.

    Source: Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019, NeurIPS, equation 7.
    """

    mirror_rate: float = 0.02
    decay: float = 0.02
    noise: float = 1.0

    citation: ClassVar[str] = (
        "@inproceedings{akrout2019deep, title={Deep Learning without Weight "
        "Transport}, author={Akrout, Mohamed and Wilson, Collin and Humphreys, Peter "
        "C. and Lillicrap, Timothy and Tweed, Douglas B.}, booktitle={NeurIPS}, "
        "year={2019}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "separate phases",
        "stored activities",
        "derivative of the nonlinearity",
        "update locking",
        "signed error units",
        "second network",
    )
    search_space: ClassVar[SearchSpace] = {
        "mirror_rate": (1e-3, 0.1, "log"),
        "decay": (1e-3, 0.1, "log"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.mirror_rate, "mirror_rate", or_zero=True)
        check_fraction(self.decay, "decay")
        check_positive(self.noise, "noise")

    def draw(self, circuit: Circuit, key: jax.Array, params: Any) -> Any:
        """Draw the feedback weights, at the scale of the forward weights."""
        require_direct(circuit, "A mirror", "Make")
        first, later = jax.random.split(fold_in_name(key, "apical.WeightMirror"))
        leaves = circuit.feedback_leaves
        feedback = draw_leaves(circuit, first, params, leaves, like_forward)
        require_different(circuit, params, feedback)
        return MirrorState(feedback, later, self.connect(circuit, key, params))

    def masked_credit(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> Credit:
        """One backward pass through the mirrored weights, then one mirror step."""
        credit = super().masked_credit(circuit, params, state, args)
        whole, everything = self.whole(circuit, params, args)
        return credit._replace(state=self._mirrored(whole, everything, state, args))

    def _mirrored(
        self, circuit: Circuit, params: Any, state: MirrorState, args: Any
    ) -> MirrorState:
        now, later = jax.random.split(state.key)
        products, uses = correlate(circuit, params, args, now)
        rate = self.mirror_rate * self.noise**2

        def move(copy: Any, product: jax.Array, used: jax.Array) -> Any:
            if copy is None:
                return None
            mean = product / jnp.maximum(used.real, 1)
            step = jnp.where(used.real > 0, rate * mean - self.decay * copy, 0)
            return (copy + step).astype(copy.dtype)

        copies = circuit.leaves.split(state.feedback)[0]
        moved = map(move, copies, products, uses)
        return state._replace(feedback=circuit.leaves.combine(list(moved)), key=later)


def correlate(
    circuit: Circuit, params: Any, args: Any, key: jax.Array
) -> tuple[list[jax.Array], list[jax.Array]]:
    """For each learned leaf the sum of x y^T under unit noise, and its number of uses.

    A synapse is linear in its weight, so its transpose maps y to x y^T; with ones in
    place of x and y it counts the uses.
    """
    learned, fixed = circuit.leaves.split(params)

    def noise(number: int, x: jax.Array) -> jax.Array:
        own = jax.random.fold_in(key, number)
        return jax.random.normal(key_of_device(own, x), x.shape).astype(x.dtype)

    def ones(number: int, x: jax.Array) -> jax.Array:
        del number
        # The barrier keeps the compiler from evaluating products of these constants.
        return jax.lax.optimization_barrier(jnp.ones_like(x))

    def synapses(send: Any) -> Any:
        def given(learned: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            return circuit.at_synapses(here, args, send)

        return jax.vjp(given, learned)

    made, back = synapses(noise)
    reached, count = synapses(ones)
    return back(made)[0], count(jax.tree.map(jnp.ones_like, reached))[0]
