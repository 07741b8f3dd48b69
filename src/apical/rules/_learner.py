"""The entry points: a learner, a training step, and the signals of a rule."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, Literal, NamedTuple, TypedDict, TypeVar, Unpack

import jax
import optax

from ..circuit import Circuit, LossSpec, require_arrays, require_function, trace_spec
from ._base import Credit, Rule, Signal
from ._checks import check_transformation
from ._optimizers import require_told_enough
from ._trace_cache import Numbers, signature
from ._validation import fitting, require_key

R = TypeVar("R")
_CIRCUITS_KEPT = 16
Nodes = Literal["entry", "unit", "marked", "every"]


class Keywords(TypedDict, total=False):
    """What is said of a loss function; `value_and_grad` says what each means."""

    has_aux: bool
    reduction: Literal["mean", "sum"]
    batch_axes: Any
    nodes: Nodes | None
    target: Callable[..., Any] | None
    input_argnums: int | tuple[int, ...] | None
    carry: tuple[int, Any] | None


class Circuits:
    """The circuits of one loss function, one for each set of shapes and settings."""

    def __init__(self, loss_fn: Callable[..., Any], setting: LossSpec) -> None:
        self.loss_fn, self.spec = loss_fn, setting
        self._found: OrderedDict[Any, Circuit] = OrderedDict()
        self._numbers = Numbers()

    def __call__(self, params: Any, args: tuple[Any, ...]) -> Circuit:
        """The circuit at these shapes, traced the first time."""
        require_arrays(params, args)
        self._numbers.require_alike(params)
        key = signature(params, args)
        if key in self._found:
            self._found.move_to_end(key)
            return self._found[key]
        circuit = trace_spec(self.loss_fn, self.spec, params, args)
        # What closes over a value of an outer transformation must not outlive it.
        if key is not None and not circuit.structure.closes_over_tracers:
            self._found[key] = circuit
            if len(self._found) > _CIRCUITS_KEPT:
                self._found.popitem(last=False)
        return circuit


class Learner(Generic[R]):
    """A loss function with a rule; made by `apical.value_and_grad`. Pure: jit it.

    The loss function is traced once for each set of shapes, of values that are not
    arrays, and of settings of JAX; so, as under `jax.jit`, what it closes over is read
    then and not again.
    """

    def __init__(
        self, loss_fn: Callable[..., Any], rule: Rule, setting: LossSpec
    ) -> None:
        self.rule, self.circuit = rule, Circuits(loss_fn, setting)

    def init(self, key: jax.Array, params: Any, *args: Any) -> Any:
        """The rule's state, from a key and example arguments; refuses here if ever.

        From a raw key (`jax.random.PRNGKey(0)`, `jax.random.key_data(key)`) it is made
        of plain arrays, which equinox and flax can save too.
        """
        require_key(key)
        return self.rule.init(self.circuit(params, args), key, params, args)

    def reset(self, params: Any, state: Any, *args: Any) -> Any:
        """The state for a new batch; the identity for most rules."""
        return self._apply(self.rule.reset, params, state, args)

    def __call__(self, params: Any, state: Any, *args: Any) -> Credit:
        """One tick: `Credit(value, aux, grads, state, info)`."""
        return self._apply(self.rule.credit, params, state, args)

    def predict(self, params: Any, state: Any, *args: Any) -> Any:
        """The output of the network that is trained (the logits of a classifier)."""
        return self._apply(self.rule.predict, params, state, args)

    def signals(self, params: Any, state: Any, *args: Any) -> dict[str, Signal]:
        """Value, prediction and teaching signal at each node, by name."""
        return self._apply(self.rule.signals, params, state, args)

    def _apply(
        self, method: Callable[..., Any], params: Any, state: Any, args: Any
    ) -> Any:
        circuit = self.circuit(params, args)
        with fitting(state, lambda key: self.rule.init(circuit, key, params, args)):
            return method(circuit, params, state, args)


class TrainState(NamedTuple):
    """What a training step carries: the rule's state and the optimiser's."""

    rule: Any
    optimizer: Any


class Trainer:
    """A loss function with a rule and an optimiser; made by `apical.train_step`."""

    def __init__(
        self, learner: Learner[Any], optimizer: optax.GradientTransformation
    ) -> None:
        self.learner, self.optimizer = learner, optimizer

    def init(self, key: jax.Array, params: Any, *args: Any) -> TrainState:
        """The state of the rule and of the optimiser; a raw key as in a learner."""
        require_key(key)
        circuit = self.learner.circuit(params, args)
        learned = circuit.learned(params)
        require_told_enough(self.optimizer, learned)
        self.learner.rule.check_optimizer(circuit, params, self.optimizer)
        state = self.learner.rule.init(circuit, key, params, args)
        return TrainState(state, self.optimizer.init(learned))

    def reset(self, params: Any, state: TrainState, *args: Any) -> TrainState:
        """The state for a new batch; the identity for most rules."""
        _require_train_state(state)
        return state._replace(rule=self.learner.reset(params, state.rule, *args))

    def __call__(
        self, params: Any, state: TrainState, *args: Any
    ) -> tuple[Any, TrainState, Credit]:
        """One update: `(params, state, credit)`."""
        _require_train_state(state)
        circuit = self.learner.circuit(params, args)
        with fitting(state, lambda key: self.init(key, params, *args)):
            params, optimizer_state, credit = self.learner.rule.train(
                circuit, params, state.rule, args, self.optimizer, state.optimizer
            )
        return params, TrainState(credit.state, optimizer_state), credit

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


def make_learner(
    loss_fn: Callable[..., Any],
    rule: Rule,
    nodes: Nodes | None = None,
    *,
    has_aux: bool = False,
    reduction: Literal["mean", "sum"] = "mean",
    batch_axes: Any = 0,
    target: Callable[..., Any] | None = None,
    input_argnums: int | tuple[int, ...] | None = None,
    carry: tuple[int, Any] | None = None,
    **unknown: Any,
) -> Learner[Any]:
    """A learner for any rule, also for those that need `train_step`."""
    if unknown:
        raise TypeError(
            f"unexpected keyword argument {next(iter(unknown))!r}: there are "
            f"{', '.join(f'`{name}`' for name in Keywords.__annotations__)}."
        )
    require_function(loss_fn, "loss_fn")
    if not isinstance(rule, Rule):
        hint = f"; did you mean `{rule.__name__}()`?" if isinstance(rule, type) else "."
        raise TypeError(f"`rule` must be a rule of `apical.rules`, not {rule!r}{hint}")
    if jax.tree_util.all_leaves([rule]):
        raise TypeError(
            f"{type(rule).__name__} is not registered, so that its numbers are no "
            f"leaves: write `@apical.rules.rule` above `class {type(rule).__name__}`."
        )
    setting = LossSpec(
        has_aux=has_aux,
        reduction=reduction,
        batch_axes=batch_axes,
        nodes=nodes or rule.nodes,
        target=target,
        input_argnums=(
            (input_argnums,) if isinstance(input_argnums, int) else input_argnums
        ),
        carry=carry,
        derivative=not rule.derivative_free,
    )
    return Learner(loss_fn, rule, setting)


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
) -> Learner[Any]:
    """`jax.value_and_grad`, by any rule.

    Args:
      loss_fn: any JAX function `loss_fn(params, *args)` that returns a scalar loss, or
        `(loss, aux)` with `has_aux`.
      rule: one of `apical.rules`.
      has_aux: whether `loss_fn` returns a pair.
      reduction: whether the loss is the `"mean"` or the `"sum"` over the examples.
      batch_axes: the axis of the examples in each argument, as `in_axes` of `jax.vmap`:
        an integer, None for an argument that all examples share, or a tuple with one
        entry (a pytree prefix) per argument.
      nodes: `"entry"`, `"unit"`, `"marked"` or `"every"`; by default the rule's own.
      target: a function of the arguments after `params` that returns what the output
        should be, of its shape; only rules that see it need it.
      input_argnums: which arguments after `params`, by position, are the input of the
        network: what rules that change it may change (`0` or `(0,)` for the first of
        them).
      carry: for windows of a long sequence `(position, path)`: the argument after
        `params` that a window starts from, and the key or keys under which `aux` holds
        what it ended with.

    Returns:
      A `Learner`: `state = learner.init(key, params, *args)`, then
      `credit = learner(params, state, *args)` with `credit.grads` for any optimiser,
      and always `state = credit.state`: noise, learned feedback and traces live there.

    Raises:
      ValueError: for a rule whose state must move with the parameters.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x, y: jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"] - y) ** 2)
      >>> w = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}
      >>> x, y = jnp.ones((5, 3)), jnp.zeros((5, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.FeedbackAlignment())
      >>> state = learner.init(jax.random.key(0), w, x, y)
      >>> credit = jax.jit(learner)(w, state, x, y)
      >>> jax.tree.map(jnp.shape, credit.grads)
      {'a': (3, 4), 'b': (4, 2)}
      >>> state = credit.state  # for the next call
    """
    if isinstance(rule, Rule) and rule.coupled:
        raise ValueError(
            f"{type(rule).__name__} moves its state together with the parameters, by "
            "the same update, so it cannot hand out gradients alone. Use "
            "`apical.train_step(loss_fn, rule, optimizer)`."
        )
    return make_learner(
        loss_fn,
        rule,
        nodes,
        has_aux=has_aux,
        reduction=reduction,
        batch_axes=batch_axes,
        target=target,
        input_argnums=input_argnums,
        carry=carry,
    )


def train_step(
    loss_fn: Callable[..., Any],
    rule: Rule,
    optimizer: optax.GradientTransformation,
    **keywords: Unpack[Keywords],
) -> Trainer:
    """One update of the parameters, by any rule and any optax optimiser.

    The general case: it also serves rules whose parameters and state move together.

    Args:
      loss_fn: any JAX function `loss_fn(params, *args)`.
      rule: one of `apical.rules`.
      optimizer: any `optax.GradientTransformation`. It is told the loss as well
        (`optax.polyak_sgd`, `optax.contrib.reduce_on_plateau`); one that asks for the
        loss function, as `optax.lbfgs`, is refused by `init`.
      **keywords: `has_aux`, `reduction`, `batch_axes`, `nodes`, `target`,
        `input_argnums`, `carry`, as in `value_and_grad`.

    Returns:
      A `Trainer`: `state = step.init(key, params, *args)`, then
      `params, state, credit = step(params, state, *args)`.

    Example:
      >>> import jax, jax.numpy as jnp, optax, apical
      >>> loss_fn = lambda w, x: jnp.mean((x @ w) ** 2)
      >>> rule = apical.rules.Backpropagation()
      >>> step = apical.train_step(loss_fn, rule, optax.sgd(0.25))
      >>> w, x = jnp.ones((1, 1)), jnp.ones((3, 1))
      >>> state = step.init(jax.random.key(0), w, x)
      >>> w, state, credit = jax.jit(step)(w, state, x)
      >>> float(credit.value), float(w[0, 0])
      (1.0, 0.5)
    """
    check_transformation(optimizer, "optimizer")
    return Trainer(make_learner(loss_fn, rule, **keywords), optimizer)


def signals(
    loss_fn: Callable[..., Any],
    rule: Rule,
    **keywords: Unpack[Keywords],
) -> Callable[..., dict[str, Signal]]:
    """What one would set beside a recording: value, prediction, teaching signal.

    Args:
      loss_fn: any JAX function `loss_fn(params, *args)`.
      rule: one of `apical.rules`.
      **keywords: `has_aux`, `reduction`, `batch_axes`, `nodes`, `target`,
        `input_argnums`, `carry`, as in `value_and_grad`.

    Returns:
      A function of `(params, state, *args)`, with the rule's state (of `learner.init`
      or `step.init`), that returns a `Signal` for each node, by name.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.zeros((3, 4)), "b": jnp.ones((4, 2))}, jnp.ones((5, 3))
      >>> rule = apical.rules.Backpropagation()
      >>> found = apical.signals(loss_fn, rule)(w, (), x)
      >>> found["a"].teaching.shape
      (5, 4)
    """
    learner = make_learner(loss_fn, rule, **keywords)

    def read(params: Any, state: Any, *args: Any) -> dict[str, Signal]:
        state = state.rule if isinstance(state, TrainState) else state
        return learner.signals(params, state, *args)

    return read
