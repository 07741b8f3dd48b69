"""Activation relaxation: activities relax to the gradients of the loss.

    x_l <- x_l - rate (x_l - (x_{l+1} * rho'(z_{l+1})) W_{l+1}'),    x_L = dL/dy
    dW_l = (x_l * rho'(z_l)) h_{l-1}'

from x = h, the feed-forward values, at which rho' and the weights are evaluated. The
recursion is that of predictive coding with fixed predictions, x being minus the error;
only the initial values differ. Millidge, Tschantz, Seth & Buckley 2020.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit
from .._base import Credit, Rule, SearchSpace, Signal, cited, rule, static
from .._call_checks import warn_of_unreached_nodes
from .._field_checks import check_positive, check_whole
from .._iteration import repeat
from .._local_derivatives import LocalDerivatives, local_derivatives
from .._numerics import relative_norm, upcast
from ..feedback._relaxation_feedback import AbstractFeedback, beside_frozen
from ._settling import SETTLED, Settling, damped_step


class Relaxed(NamedTuple):
    """The linearised network, the negated relaxed activities, and diagnostics."""

    linear: LocalDerivatives
    errors: Any
    info: Settling


_MILLIDGE = (
    "@article{millidge2020activation, title={Activation Relaxation: A Local "
    "Dynamical Approximation to Backpropagation in the Brain}, author={Millidge, "
    "Beren and Tschantz, Alexander and Seth, Anil K. and Buckley, Christopher L.}, "
    "journal={arXiv preprint arXiv:2009.05359}, year={2020}}"
)


@rule
class ActivationRelaxation(Rule):
    """Relax activities to the gradient of the loss, and learn from them.

        x_l <- x_l - rate (x_l - (x_{l+1} * rho'(z_{l+1})) W_{l+1}'),    x_L = dL/dy

    This is `PredictiveCoding(steps, rate, inference=optax.sgd(rate))` with fixed
    predictions, except for the initial values: activities start at their feed-forward
    values, whereas predictive coding starts with errors of 0. After T steps a fraction
    (1
    - rate)^T of the initial value remains where no signal arrives; at rate 1 nothing
    remains, and after as many steps as the longest path of nodes both rules equal
    backpropagation (bit for bit on a chain).

    Args:
      steps: the number of steps; None: the length of the longest path of nodes.
      rate: kappa of the paper, the size of a step.
      feedback: `RandomFeedback()` to pass signals back through separate weights (fixed
        or learned); None: through the forward weights.
      derivative: whether signals are multiplied by the derivative of the nonlinearity.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.ActivationRelaxation())
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> grads = learner(w, state, x).grads
      >>> bool(jnp.allclose(grads["a"], jax.grad(loss_fn)(w, x)["a"]))
      True

    Raises:
      ValueError: in `init`, if nodes are not separated.

    Source: Millidge, Tschantz, Seth & Buckley 2020, arXiv:2009.05359.
    """

    steps: int | None = static(default=None)
    rate: float = 1.0
    feedback: AbstractFeedback | None = static(default=None)
    derivative: bool = static(default=True)

    @property
    def citation(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> str:
        """The source of the rule, and of the feedback weights."""
        return cited(_MILLIDGE, self.feedback)

    @property
    def search_space(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> SearchSpace:
        """The rate, unless the default number of steps requires a rate of 1."""
        return {} if self.steps is None else {"rate": (0.1, 1.0, "log")}

    @property
    def needs(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> tuple[str, ...]:
        """The requirements of the chosen options."""
        found = ["separate phases", "stored activities", "update locking"]
        found.append("signed error units")
        if self.feedback is None:
            found.insert(0, "weight transport")
        if self.derivative:
            found.append("derivative of the nonlinearity")
        if self.feedback is not None and self.feedback.learns:
            found.append("second network")
        return tuple(found)

    def __post_init__(self) -> None:
        if self.steps is not None:
            check_whole(self.steps, "steps")
        check_positive(self.rate, "rate")
        given = self.feedback
        if given is not None and not isinstance(given, AbstractFeedback):
            raise TypeError(
                "`feedback` must be `apical.rules.RandomFeedback()` or None, not "
                f"{self.feedback!r}."
            )

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Check that nodes are separated; draw the feedback weights."""
        circuit.require_nodes(or_flat=True)
        _ = circuit.scale
        if self.steps is not None:
            warn_of_unreached_nodes(type(self).__name__, self.steps, circuit.distances)
        if self.feedback is None:
            return ()
        whole, everything = beside_frozen(self.feedback, circuit, params, args)
        return self.feedback.init(whole, key, everything)

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Relax, then pull the activities back to the parameters of each node."""
        linear, errors, info = self._relax(circuit, params, state, args)
        own = len(circuit.leaves.learned)  # without those of frozen networks
        grads = circuit.leaves.combine(linear.pull(1.0, errors)[0][:own])
        if self.feedback is not None:
            state = self.feedback.update(state, grads)
        return Credit(linear.value, linear.aux, grads, state, info)

    def backward_path(
        self, circuit: Circuit, params: Any, state: Any
    ) -> dict[str, Any]:
        """The feedback weights, if there are any."""
        del circuit, params
        own = self.feedback
        return {} if own is None else {"feedback": own.carry(state)}

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The feed-forward values; the teaching signals are the relaxed activities."""
        linear, errors, _ = self._relax(circuit, params, state, args)
        scale = circuit.scale
        return {n: Signal(v, v, -errors[n] / scale) for n, v in linear.values.items()}

    def _relax(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Relaxed:
        weights = None if self.feedback is None else self.feedback.carry(state)
        whole, everything = beside_frozen(self.feedback, circuit, params, args)
        linear = local_derivatives(
            whole, everything, args, feedback=weights, derivative=self.derivative
        )

        def target(errors: Any) -> Any:
            pulled = linear.pull(1.0, errors)[1]
            return jax.tree.map(lambda p: -circuit.scale * p, pulled)

        def step(errors: Any) -> Any:
            return damped_step(errors, target(errors), self.rate)

        start = jax.tree.map(jnp.negative, upcast(linear.values))
        steps = circuit.depth if self.steps is None else self.steps
        errors = repeat(circuit, step, start, steps)
        away = jax.tree.map(jnp.subtract, target(errors), errors)
        residual = relative_norm(away, errors)
        return Relaxed(linear, errors, Settling(residual, residual < SETTLED))
