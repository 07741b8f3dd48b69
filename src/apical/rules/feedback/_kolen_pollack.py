"""Kolen-Pollack: feedback weights take the same updates as the forward weights.

    W <- (1 - lambda) W + u,     B <- (1 - lambda) B + u

with the same update u, so that (W - B)_t = (1 - lambda)^t (W - B)_0: forward and
feedback weights converge to each other although neither is copied. Kolen & Pollack
1994; Akrout et al. 2019.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...circuit import Circuit, WithFrozen, is_concrete
from .._base import Credit, SearchSpace, cited, rule
from .._field_checks import check_fraction
from .._inner_optimizers import updates_of
from .._numerics import fold_in_name
from ._backward_path import BackwardPathRule
from ._connection_masks import FeedbackState, multiply
from ._feedback_weights import (
    draw_leaves,
    leaves_with_feedback,
    like_forward,
    require_different,
)
from ._frozen_feedback import of_params


@rule
class KolenPollack(BackwardPathRule):
    """Update feedback weights and forward weights alike, with weight decay on both.

        (W - B)_t = (1 - decay)^t (W - B)_0

    The update is the optimiser's, for the gradient; the decay is applied by the rule,
    decoupled from it. So the rule needs `apical.train_step`, and an optimiser without
    weight decay. A weight whose input is data alone has no feedback weight, because no
    signal passes back through it.

    The decay is part of the update that is applied. An entry does not decay in a step
    in which the optimiser's update is 0 for every gradient: where the entry is frozen
    (`optax.multi_transform` with `set_to_zero`), while gradients are accumulated
    (`optax.MultiSteps`, `apply_every`), where they are not finite (`apply_if_finite`),
    and where a schedule's rate is 0. An entry whose gradient happens to be 0 (of an
    inactive unit) decays like the others. To distinguish the two, the optimiser's
    update is computed a second time, with 1 in place of gradients that are 0.

    State: `FeedbackState(feedback, connections)`.

    Args:
      decay: the fraction that weights and feedback weights lose at every update that is
        applied.
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
      >>> import jax, jax.numpy as jnp, optax, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.KolenPollack(decay=0.1)
      >>> step = apical.train_step(loss_fn, rule, optax.sgd(0.1))
      >>> state = step.init(jax.random.key(0), w, x)
      >>> before = w["b"] - state.rule.feedback["b"]
      >>> w, state, credit = step(w, state, x)
      >>> bool(jnp.allclose(w["b"] - state.rule.feedback["b"], 0.9 * before))
      True

    Source: Kolen & Pollack 1994; Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019,
    NeurIPS.
    """

    decay: float = 1e-4

    citation: ClassVar[str] = cited(
        "@inproceedings{kolen1994backpropagation, title={Backpropagation without "
        "Weight Transport}, author={Kolen, John F. and Pollack, Jordan B.}, "
        "booktitle={IEEE International Conference on Neural Networks}, "
        "year={1994}}",
        "@inproceedings{akrout2019deep, title={Deep Learning without Weight "
        "Transport}, author={Akrout, Mohamed and Wilson, Collin and Humphreys, Peter "
        "C. and Lillicrap, Timothy and Tweed, Douglas B.}, booktitle={NeurIPS}, "
        "year={2019}}",
    )
    needs: ClassVar[tuple[str, ...]] = (
        "separate phases",
        "stored activities",
        "derivative of the nonlinearity",
        "update locking",
        "signed error units",
        "second network",
    )
    search_space: ClassVar[SearchSpace] = {"decay": (1e-5, 1e-2, "log")}
    coupled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.decay, "decay")

    def draw(self, circuit: Circuit, key: jax.Array, params: Any) -> Any:
        """Draw the feedback weights, at the scale of the forward weights."""
        own = fold_in_name(key, "apical.KolenPollack")
        leaves = circuit.structure.carrying_leaves
        feedback = draw_leaves(circuit, own, params, leaves, like_forward)
        require_different(circuit, params, feedback)
        return FeedbackState(feedback, self.connect(circuit, key, params))

    def train(
        self,
        circuit: Circuit,
        params: Any,
        state: Any,
        args: Any,
        optimizer: optax.GradientTransformation,
        optimizer_state: Any,
    ) -> tuple[Any, Any, Credit]:
        """Apply the same update to weights and feedback weights, and decay both."""
        credit = self.credit(circuit, params, state, args)
        learned = circuit.learned(params)

        def updates_for(grads: Any) -> Any:
            memory = optimizer_state
            return updates_of(optimizer, grads, memory, learned, credit.value)

        updates, memory = updates_for(credit.grads)
        nonzero = jax.tree.map(lambda g: jnp.where(g == 0, 1, g), credit.grads)
        copies = of_params(state.feedback)  # those of a frozen network do not move
        applied = leaves_with_feedback(copies, updates_for(nonzero)[0])
        lost = jax.tree.map(lambda m: jnp.where(m == 0, 0, self.decay), applied)
        # A removed forward weight does not change; it acts as 0.
        lost_here = multiply(lost, credit.state.connections.forward)
        moved = optax.apply_updates(_shrunk(learned, lost_here), updates)
        same = leaves_with_feedback(copies, updates)
        feedback = optax.apply_updates(_shrunk(copies, lost), same)
        if isinstance(state.feedback, WithFrozen):
            feedback = state.feedback._replace(params=feedback)
        after = credit.state._replace(feedback=feedback)
        params = circuit.merged(params, moved)
        return params, memory, credit._replace(state=after)

    def check_optimizer(
        self, circuit: Circuit, params: Any, optimizer: optax.GradientTransformation
    ) -> None:
        """Raise for an optimiser that changes parameters whose gradient is zero.

        Raises:
            ValueError: for such an optimiser, or for one with a traced number.
        """
        learned = circuit.learned(params)
        # With concrete numbers, so that the check also runs under `jit`.
        with jax.ensure_compile_time_eval():
            ones = jax.tree.map(lambda p: jnp.ones(p.shape, p.dtype), learned)
            still = jax.tree.map(jnp.zeros_like, ones)
            memory, loss = optimizer.init(ones), jnp.ones(())
            moved, _ = updates_of(optimizer, still, memory, ones, loss)
        if not is_concrete(moved):
            raise ValueError(
                "KolenPollack needs an `optimizer` without weight decay. It cannot be "
                "checked where a number of the optimiser is traced, as a step size "
                "under `jax.vmap`. Call `init` outside, with any step size: the state "
                "is the same for all."
            )
        if any(np.any(np.asarray(m)) for m in jax.tree.leaves(moved)):
            raise ValueError(
                "KolenPollack needs an `optimizer` without weight decay: this one "
                "moves parameters whose gradient is zero, so forward and feedback "
                "weights would not decay alike. Give the decay to the rule instead: "
                "`KolenPollack(decay=...)`."
            )


def _shrunk(weights: Any, lost: Any) -> Any:
    """A tree after decay by the given fractions; None means no decay."""

    def shrink(x: Any, w: Any) -> Any:
        return w if x is None else (w * (1 - x)).astype(w.dtype)

    return jax.tree.map(shrink, lost, weights, is_leaf=lambda x: x is None)
