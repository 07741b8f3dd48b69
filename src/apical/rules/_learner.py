"""Learners: a loss function, its description, and a rule.

The description says, for example, which axis holds the examples and what the target is.
It is given once, to `apical.value_and_grad`; training steps and measures take the
learner.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypedDict

import jax
import jax.numpy as jnp

from ..circuit import Circuit, LossSpec, require_function
from ._base import Credit, Rule, Signal, TrainState
from ._call_checks import explaining_misfit, require_key
from ._trace_cache import CircuitCache

Nodes = Literal["entry", "step", "unit", "marked", "every"]


class Keywords(TypedDict, total=False):
    """The description of a loss function: the keywords of `apical.value_and_grad`."""

    has_aux: bool
    reduction: Literal["mean", "sum"]
    batch_axes: Any
    nodes: Nodes | None
    target: Callable[..., Any] | None
    input_argnums: int | tuple[int, ...] | None
    carry: tuple[int, Any] | None


class Learner:
    """A loss function, its description and a rule; made by `apical.value_and_grad`.

    All methods are pure: wrap them in `jax.jit`. The loss function is traced once for
    each set of shapes, of values that are not arrays, and of settings of JAX; so, as
    under `jax.jit`, values that it closes over are read once, when it is traced.

    Attributes:
      loss_fn: the loss function.
      rule: the rule.
      description: the keyword arguments that describe the loss function.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}, jnp.ones((3, 5))
      >>> rule = apical.rules.FeedbackAlignment()
      >>> learner = apical.value_and_grad(loss_fn, rule, batch_axes=0)
      >>> state = learner.init(jax.random.key(0), w, x.T)
      >>> credit = learner(w, state, x.T)
      >>> learner.predict(w, state, x.T).shape
      (5, 2)
      >>> learner.signals(w, state, x.T)["a"].teaching.shape
      (5, 4)
      >>> exact = learner.with_rule(apical.rules.Backpropagation())
      >>> bool(exact(w, (), x.T).value == credit.value)
      True
    """

    def __init__(
        self, loss_fn: Callable[..., Any], rule: Rule, description: Keywords
    ) -> None:
        self.loss_fn, self.rule, self.description = loss_fn, rule, description
        self._circuits = CircuitCache(loss_fn, _loss_spec(rule, **description))

    def with_rule(self, rule: Rule) -> Learner:
        """A learner of the same loss function and description, with another rule."""
        return value_and_grad(self.loss_fn, rule, **self.description)

    def circuit(self, params: Any, *args: Any) -> Circuit:
        """The nodes and synapses of the loss function that the rule works on.

        Args:
          params: the parameters, or their shapes (`jax.ShapeDtypeStruct`).
          *args: the other arguments of the loss function, or their shapes.
        """
        return self._circuits(params, args)

    def init(self, key: jax.Array, params: Any, *args: Any) -> Any:
        """The rule's state before the first call.

        Args:
          key: a random key. From a raw key (`jax.random.PRNGKey(0)`,
            `jax.random.key_data(key)`) the state is made of plain arrays, which equinox
            and flax can save too.
          params: the parameters.
          *args: arguments of the loss function, of the shapes of the calls.

        Raises:
          ValueError: if the rule does not support the loss function.
        """
        require_key(key)
        return self.rule.init(self.circuit(params, *args), key, params, args)

    def reset(self, params: Any, state: Any, *args: Any) -> Any:
        """The state for a new batch; unchanged for most rules."""
        return self._apply(self.rule.reset, params, state, args)

    def __call__(self, params: Any, state: Any, *args: Any) -> Credit:
        """One call of the rule: `Credit(value, aux, grads, state, info)`.

        Raises:
          ValueError: for a rule whose state must move with the parameters, and which
            therefore needs `apical.train_step`.
        """
        if self.rule.coupled:
            raise ValueError(
                f"{type(self.rule).__name__} moves its state together with the "
                "parameters, by the same update, so it cannot return gradients alone. "
                "Use `apical.train_step(learner, optimizer)`. (To look at its "
                "gradients without training: `learner.credit`.)"
            )
        return self._apply(self._checked_credit, params, state, args)

    def _checked_credit(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> Credit:
        credit = self.rule.credit(circuit, params, state, args)
        require_credit(self.rule, credit, circuit.learned(params))
        return credit

    def credit(self, params: Any, state: Any, *args: Any) -> Credit:
        """`__call__`, also for a rule that otherwise needs `apical.train_step`.

        For measuring such a rule, not for training.
        """
        return self._apply(self.rule.credit, params, state, args)

    def predict(self, params: Any, state: Any, *args: Any) -> Any:
        """The output of the trained network (the logits of a classifier)."""
        return self._apply(self.rule.predict, params, state, args)

    def signals(self, params: Any, state: Any, *args: Any) -> dict[str, Signal]:
        """Value, prediction and teaching signal at each node, by the node's name."""
        return self._apply(self.rule.signals, params, state, args)

    def _apply(
        self, method: Callable[..., Any], params: Any, state: Any, args: Any
    ) -> Any:
        _require_rule_state(state)
        circuit = self.circuit(params, *args)
        with explaining_misfit(
            state, lambda key: self.rule.init(circuit, key, params, args)
        ):
            return method(circuit, params, state, args)


def require_credit(rule: Any, credit: Any, learned: Any) -> None:
    """Refuse what is no `Credit`, and gradients of another structure or other shapes.

    Args:
      rule: the rule that returned it.
      credit: what it returned.
      learned: the learned leaves in the tree of the parameters, None elsewhere.
    """
    name = type(rule).__name__
    if not isinstance(credit, Credit):
        raise TypeError(
            f"`{name}.credit` must return `apical.Credit(value, aux, grads, state, "
            f"info)`, not {type(credit).__name__}."
        )
    found, wanted = (
        {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (credit.grads, learned))
    )
    for path in {**wanted, **found}:
        if found.get(path) != wanted.get(path):
            raise ValueError(
                f"`{name}.credit` must return `grads` like the learned leaves of "
                f"`params`: {path or 'it'} has shape {found.get(path, 'none')}, not "
                f"{wanted.get(path, 'none')}."
            )


def _loss_spec(
    rule: Rule,
    nodes: Nodes | None = None,
    input_argnums: int | tuple[int, ...] | None = None,
    **description: Any,
) -> LossSpec:
    if isinstance(input_argnums, int):
        input_argnums = (input_argnums,)
    return LossSpec(
        nodes=nodes or rule.nodes,
        input_argnums=input_argnums,
        derivative=not rule.derivative_free,
        stepwise=rule.through_time and description.get("carry") is not None,
        **description,
    )


def value_and_grad(
    loss_fn: Callable[..., Any],
    rule: Rule,
    *,
    has_aux: bool = False,
    reduction: Literal["mean", "sum"] = "mean",
    batch_axes: Any = 0,
    nodes: Nodes | None = None,
    target: Callable[..., Any] | None = None,
    input_argnums: int | tuple[int, ...] | None = None,
    carry: tuple[int, Any] | None = None,
) -> Learner:
    """A learner: the loss and an update direction per parameter, by any learning rule.

    It replaces `jax.value_and_grad`: with
    `apical.rules.Backpropagation()` the gradients are the same. A loss function is
    described once, here; training steps and measures take the learner.

    Args:
      loss_fn: any JAX function `loss_fn(params, *args)` that returns a scalar loss, or
        `(loss, aux)` with `has_aux=True`. `params` is a pytree; its leaves that are not
        arrays of floating-point numbers are not learned.
      rule: one of `apical.rules`.
      has_aux: whether `loss_fn` returns a pair `(loss, aux)`.
      reduction: whether the loss is the `"mean"` or the `"sum"` over the examples.
      batch_axes: the axis of the examples in each argument after `params`, as `in_axes`
        of `jax.vmap`: an integer for all arguments; None for an argument that all
        examples share (a mask, a random key, running statistics); or a tuple with one
        entry (a pytree prefix) per argument.
      nodes: the activities that the rule works on: `"entry"` (those that enter a
        synapse, and those where paths branch), `"step"` (the same within one step of a
        loop), `"unit"` (the subset of the first that are a nonlinearity of one
        activity), `"marked"` (those marked by `apical.node`) or `"every"` (the result
        of each operation). By default the rule chooses.
      target: a function of the arguments after `params`, as `lambda x, y: y`, that
        returns the target of the output, in the output's shape. For rules that need
        one.
      input_argnums: which arguments after `params` are the input of the network: `0`
        for the first, or a tuple of positions. For rules that change the input.
      carry: for windows of a long sequence, `(position, path)`: the position after
        `params` of the state that a window starts from, and the key (or tuple of keys)
        under which `aux` holds the state that it ends with.

    Returns:
      A `Learner` with these methods:

      * `learner.init(key, params, *args)` returns the rule's first state. Unsupported
        combinations of rule and loss function raise `ValueError` here.
      * `learner(params, state, *args)` returns `Credit(value, aux, grads, state,
        info)`: the loss, what `loss_fn` returned beside it, the update directions (a
        pytree as `params`, for any optax optimiser), and the next state. Always
        continue with `credit.state`: it may hold random keys or learned feedback.
      * `learner.reset(params, state, *args)` returns the state for a new batch, for
        rules whose values persist from call to call; unchanged for the others.
      * `learner.predict(params, state, *args)` returns the network's output.
      * `learner.signals(params, state, *args)` returns value, prediction and teaching
        signal of each node, by name.
      * `learner.circuit(params, *args)` returns the nodes and synapses that were found.
      * `learner.with_rule(rule)` returns a learner of the same loss by another rule.

    Raises:
      TypeError: if `loss_fn` is not a function, or `rule` is not a rule.
      ValueError: for a keyword argument with an unknown value. A rule whose state must
        move with the parameters raises when the learner is called: it trains by
        `apical.train_step(learner, optimizer)`.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(params, x, y):
      ...     return jnp.mean((jnp.tanh(x @ params["a"]) @ params["b"] - y) ** 2)
      >>> params = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}
      >>> x, y = jnp.ones((5, 3)), jnp.zeros((5, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.FeedbackAlignment())
      >>> state = learner.init(jax.random.key(0), params, x, y)
      >>> credit = jax.jit(learner)(params, state, x, y)
      >>> jax.tree.map(jnp.shape, credit.grads)
      {'a': (3, 4), 'b': (4, 2)}
      >>> state = credit.state  # for the next call
      >>> measured = apical.measure.alignment(learner)(params, state, x, y)
      >>> round(float(measured.layers["b"].agreement.cosine), 4)
      1.0
    """
    if isinstance(loss_fn, Learner):
        raise TypeError(
            "`loss_fn` is a learner already. For the same loss by another rule: "
            "`learner.with_rule(rule)`."
        )
    require_function(loss_fn, "loss_fn")
    _require_rule(rule)
    description = Keywords(
        has_aux=has_aux,
        reduction=reduction,
        batch_axes=batch_axes,
        nodes=nodes,
        target=target,
        input_argnums=input_argnums,
        carry=carry,
    )
    return Learner(loss_fn, rule, description)


def _require_rule(rule: Any) -> None:
    if not isinstance(rule, Rule):
        hint = f"; did you mean `{rule.__name__}()`?" if isinstance(rule, type) else "."
        raise TypeError(f"`rule` must be a rule of `apical.rules`, not {rule!r}{hint}")
    if jax.tree_util.all_leaves([rule]):
        raise TypeError(
            f"{type(rule).__name__} is not registered, so that its numbers are no "
            f"leaves: write `@apical.rules.rule` above `class {type(rule).__name__}`."
        )


def _require_rule_state(state: Any) -> None:
    if isinstance(state, TrainState):
        raise ValueError(
            "`state` is a TrainState, the state of a training step. Learners and "
            "measures take the rule's part of it: pass `state.rule`."
        )
