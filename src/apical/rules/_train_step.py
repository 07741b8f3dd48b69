"""Training steps: a learner and an optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack, overload

import jax
import optax

from ._base import Credit, Rule, TrainState
from ._call_checks import explaining_misfit, require_key
from ._field_checks import check_transformation
from ._inner_optimizers import require_usable_optimizer
from ._learner import Keywords, Learner, require_credit, value_and_grad


class Trainer:
    """A learner and an optimiser; made by `apical.train_step`. Pure: jit it.

    Attributes:
      learner: the learner, to measure with: `apical.measure.alignment(step.learner)`.
      optimizer: the optimiser.
    """

    def __init__(
        self, learner: Learner, optimizer: optax.GradientTransformation
    ) -> None:
        self.learner, self.optimizer = learner, optimizer

    def init(self, key: jax.Array, params: Any, *args: Any) -> TrainState:
        """The state of the rule and of the optimiser; arguments as `Learner.init`."""
        require_key(key)
        circuit = self.learner.circuit(params, *args)
        learned = circuit.learned(params)
        require_usable_optimizer(self.optimizer, learned)
        self.learner.rule.check_optimizer(circuit, params, self.optimizer)
        state = self.learner.rule.init(circuit, key, params, args)
        return TrainState(state, self.optimizer.init(learned))

    def reset(self, params: Any, state: TrainState, *args: Any) -> TrainState:
        """The state for a new batch; unchanged for most rules."""
        _require_train_state(state)
        return state._replace(rule=self.learner.reset(params, state.rule, *args))

    def __call__(
        self, params: Any, state: TrainState, *args: Any
    ) -> tuple[Any, TrainState, Credit]:
        """One update: `(params, state, credit)`."""
        _require_train_state(state)
        circuit = self.learner.circuit(params, *args)
        with explaining_misfit(state, lambda key: self.init(key, params, *args)):
            moved, optimizer_state, credit = self.learner.rule.train(
                circuit, params, state.rule, args, self.optimizer, state.optimizer
            )
        require_credit(self.learner.rule, credit, circuit.learned(params))
        return moved, TrainState(credit.state, optimizer_state), credit

    def predict(self, params: Any, state: TrainState, *args: Any) -> Any:
        """The output of the network that is trained."""
        _require_train_state(state)
        return self.learner.predict(params, state.rule, *args)


def _require_train_state(state: Any) -> None:
    if not isinstance(state, TrainState):
        raise ValueError(
            f"`state` is a {type(state).__name__}, and a training step needs the "
            "TrainState that its own `init(key, params, *args)` or its call before "
            "returned: `params, state, credit = step(params, state, *args)`."
        )


@overload
def train_step(
    learner: Learner, /, optimizer: optax.GradientTransformation
) -> Trainer: ...
@overload
def train_step(
    loss_fn: Callable[..., Any],
    rule: Rule,
    optimizer: optax.GradientTransformation,
    **keywords: Unpack[Keywords],
) -> Trainer: ...
def train_step(  # pyright: ignore[reportInconsistentOverload]
    loss_fn: Any, rule: Any = None, optimizer: Any = None, **keywords: Any
) -> Trainer:
    """One update of the parameters, by any rule and any optax optimiser.

    Call it with a learner, `train_step(learner, optimizer)`, or with the arguments that
    make one, `train_step(loss_fn, rule, optimizer, **keywords)`. It works with every
    rule, including those whose state must be updated together with the parameters.

    Args:
      loss_fn: a learner; or any JAX function `loss_fn(params, *args)`.
      rule: one of `apical.rules`; not with a learner, which has one.
      optimizer: any `optax.GradientTransformation`. It gets the loss too, as `value=`
        (`optax.polyak_sgd`, `optax.contrib.reduce_on_plateau`); one that needs the loss
        function itself, as `optax.lbfgs`, is refused by `init`.
      **keywords: the description of `loss_fn`, as in `apical.value_and_grad`; not with
        a learner, which has one.

    Returns:
      A `Trainer`: `state = step.init(key, params, *args)`, then
      `params, state, credit = step(params, state, *args)`. `state.rule` is the rule's
      state, which `step.learner` and measures take.

    Raises:
      TypeError: for a rule or keywords beside a learner, for unknown keywords, and for
        an optimiser that is not of optax.

    Example:
      >>> import jax, jax.numpy as jnp, optax, apical
      >>> loss_fn = lambda w, x: jnp.mean((x @ w) ** 2)
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.Backpropagation())
      >>> step = apical.train_step(learner, optax.sgd(0.25))
      >>> w, x = jnp.ones((1, 1)), jnp.ones((3, 1))
      >>> state = step.init(jax.random.key(0), w, x)
      >>> w, state, credit = jax.jit(step)(w, state, x)
      >>> float(credit.value), float(w[0, 0])
      (1.0, 0.5)
    """
    if isinstance(loss_fn, Learner):
        if keywords or (rule is not None and optimizer is not None):
            raise TypeError(
                "A learner has a rule and a description of its loss function already: "
                "call `apical.train_step(learner, optimizer)`. Other keywords belong "
                "in `apical.value_and_grad(loss_fn, rule, ...)`, and "
                "`learner.with_rule(rule)` has another rule."
            )
        learner, optimizer = loss_fn, rule if optimizer is None else optimizer
    else:
        _require_known(keywords)
        learner = value_and_grad(loss_fn, rule, **keywords)
    check_transformation(optimizer, "optimizer")
    return Trainer(learner, optimizer)


def _require_known(keywords: dict[str, Any]) -> None:
    known = Keywords.__annotations__
    unknown = [name for name in keywords if name not in known]
    if unknown:
        raise TypeError(
            f"unexpected keyword argument {unknown[0]!r}: there are "
            f"{', '.join(f'`{name}`' for name in known)}."
        )
