"""Kolen-Pollack: feedback weights that learn by the forward weights' own updates.

    W <- (1 - lambda) W + u,     B <- (1 - lambda) B + u

with the same update u, so that (W - B)_t = (1 - lambda)^t (W - B)_0: the two become
each other's transpose without ever being copied. Kolen & Pollack 1994; Akrout 2019.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..circuit import Circuit
from ._feedback_path import (
    draw_leaves,
    like_forward,
    require_different,
    through_feedback,
)
from ._rule import (
    Credit,
    Rule,
    SearchSpace,
    check_fraction,
    local_signals,
    rule,
    salted,
)


@rule
class KolenPollack(Rule):
    """Feedback weights take the same updates as the forward ones, and both decay.

        (W - B)_t = (1 - decay)^t (W - B)_0

    The update is what the optimiser makes of the gradient, and the decay is the rule's
    own, decoupled from it and applied to every weight that has feedback; so the rule
    needs `apical.train_step`, and an optimiser without a decay of its own.

    Args:
      decay: the fraction that weights and feedback weights lose at every update.

    Example:
      >>> import jax, jax.numpy as jnp, optax, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.KolenPollack(decay=0.1)
      >>> step = apical.train_step(loss_fn, rule, optax.sgd(0.1))
      >>> state = step.init(jax.random.key(0), w, x)
      >>> before = w["b"] - state.rule["b"]
      >>> w, state, credit = step(w, state, x)
      >>> bool(jnp.allclose(w["b"] - state.rule["b"], 0.9 * before))
      True

    Source: Kolen & Pollack 1994; Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019,
    NeurIPS.
    """

    decay: float = 1e-4

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
    )
    search_space: ClassVar[SearchSpace] = {"decay": (1e-5, 1e-2, "log")}
    coupled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fraction(self.decay, "decay")

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Draw the feedback weights, with the size of the forward ones."""
        del args
        circuit.require_feedback()
        own = salted(key, "apical.KolenPollack")
        leaves = circuit.feedback_leaves
        feedback = draw_leaves(circuit, own, params, leaves, like_forward)
        require_different(circuit, params, feedback)
        return feedback

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One backward pass through the feedback weights as they are now."""
        return through_feedback(circuit, params, args, state, feedback=state)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The cotangent through the feedback weights, at each node."""
        return local_signals(circuit, params, args, feedback=state)

    def train(
        self,
        circuit: Circuit,
        params: Any,
        state: Any,
        args: Any,
        optimizer: optax.GradientTransformation,
        optimizer_state: Any,
    ) -> tuple[Any, Any, Credit]:
        """Move weights and feedback weights by the same update, and let both decay."""
        credit = self.credit(circuit, params, state, args)
        learned = circuit.learned(params)
        updates, optimizer_state = optimizer.update(
            credit.grads, optimizer_state, learned
        )
        moved = optax.apply_updates(self._decayed(circuit, learned, state), updates)
        params = circuit.merged(params, moved)
        feedback = self._follow(circuit, state, updates)
        return params, optimizer_state, credit._replace(state=feedback)

    def _decayed(self, circuit: Circuit, learned: Any, feedback: Any) -> Any:
        weights, copies = (
            circuit.leaves.pick(learned)[0],
            circuit.leaves.pick(feedback)[0],
        )
        pairs = zip(weights, copies, strict=True)
        kept = [w if b is None else _shrunk(w, self.decay) for w, b in pairs]
        return circuit.leaves.build(kept)

    def _follow(self, circuit: Circuit, feedback: Any, updates: Any) -> Any:
        copies = circuit.leaves.pick(feedback)[0]
        steps = circuit.leaves.pick(updates)[0]
        pairs = zip(copies, steps, strict=True)
        moved = [b if b is None else _shrunk(b, self.decay) + u for b, u in pairs]
        return circuit.leaves.build(moved)

    def check_optimizer(
        self, circuit: Circuit, params: Any, optimizer: optax.GradientTransformation
    ) -> None:
        """Refuse an optimiser that moves parameters whose gradient is zero."""
        learned = circuit.learned(params)
        # On numbers of its own, so that it is checked under `jit` as well.
        with jax.ensure_compile_time_eval():
            ones = jax.tree.map(lambda p: jnp.ones(p.shape, p.dtype), learned)
            still = jax.tree.map(jnp.zeros_like, ones)
            moved, _ = optimizer.update(still, optimizer.init(ones), ones)
        if any(np.any(np.asarray(m)) for m in jax.tree.leaves(moved)):
            raise ValueError(
                "KolenPollack needs an `optimizer` without weight decay: this one "
                "moves parameters whose gradient is zero, so forward and feedback "
                "weights would not decay alike. Give the decay to the rule instead: "
                "`KolenPollack(decay=...)`."
            )


def _shrunk(weight: jax.Array, decay: Any) -> jax.Array:
    return (weight * (1 - jnp.asarray(decay))).astype(weight.dtype)
