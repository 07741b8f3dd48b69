"""Predictive coding: values relax until every node agrees with its neighbours.

For one example, with values v_n, predictions p_n and the loss L,

    E(v) = sum_n |v_n - p_n|^2 / 2 + L,         e_n = v_n - p_n

values descend E, then parameters do: d theta = -sum_n <e_n, dp_n/d theta> + dL/d theta.
Whittington & Bogacz 2017 (free predictions); Millidge, Tschantz & Buckley 2020 and
Rosenbaum 2022 (fixed: p_n and its derivatives stay at their feed-forward values).

| part       | what it says                                | choices             |
|------------|---------------------------------------------|---------------------|
| prediction | whether p_n follows the values              | fixed, free         |
| inference  | how the values get to rest                  | optax, `Sweep`, ... |
| precision  | how much the error of a node counts         | a number, ...       |
| nudge      | how strongly the loss pulls                 | fully, `Nudge`      |
| feedback   | what carries errors back                    | the weights, others |
| derivative | whether they pass that of the nonlinearity  | yes, no             |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ...circuit import Circuit
from .._rule import (
    Credit,
    Rule,
    SearchSpace,
    Signal,
    check_choice,
    check_positive,
    check_whole,
    rule,
    squared_norm,
    static,
)
from ._conjugate_gradients import ConjugateGradients
from ._energy import Terms
from ._error_relaxation import ErrorRelaxation
from ._feedback import RandomFeedback
from ._fixed_prediction import linearise, relax_in_closed_form, sweep_exactly
from ._free_prediction import Free
from ._nudge import Nudge
from ._ode import DifferentialEquation
from ._precision import as_precision
from ._relaxation import Relaxation
from ._settled import Budget, Settled
from ._sweep import Sweep
from ._zero_divergence import ZeroDivergence

# Below this fraction of the first gradient the values count as settled.
_SETTLED = 1e-3
_FREE_ALONE = (ErrorRelaxation, ConjugateGradients, ZeroDivergence)
_SOLVERS = (ErrorRelaxation, ConjugateGradients)
_WAYS = (Relaxation, Sweep, DifferentialEquation, *_FREE_ALONE)
Inference = (
    Sweep
    | ErrorRelaxation
    | ConjugateGradients
    | DifferentialEquation
    | ZeroDivergence
    | optax.GradientTransformation
)


class Settling(NamedTuple):
    """Diagnostics of inference.

    Attributes:
      energy: for each node, half its squared error, summed over the node and averaged
        over the examples.
      residual: the norm of dE/dv at the last step, relative to the first; of two
        settlings (a centred nudge) the larger.
      settled: whether the residual fell below 1e-3 (never with numbers not finite).
      steps: how many steps were taken.
    """

    energy: dict[str, jax.Array]
    residual: jax.Array
    settled: jax.Array
    steps: Any


def settling(circuit: Circuit, errors: Any, residual: Any, steps: Any) -> Settling:
    """The diagnostics where inference has left these errors."""
    share = 1 / circuit.batch_size
    energy = {n: share * squared_norm(e) / 2 for n, e in errors.items()}
    return Settling(energy, residual, residual < _SETTLED, steps)


class Parts(NamedTuple):
    """The state of the parts that learn."""

    precision: Any
    feedback: Any


@rule
class PredictiveCoding(Rule):
    """Let values settle between prediction and target, then learn from local errors.

        v_n <- v_n - rate dE/dv_n,   dE/dv_n = e_n - sum_m <e_m, dp_m/dv_n> + dL/dv_n

    where m are the nodes that n predicts directly. Energies are those of single
    examples: rates do not depend on the batch size.

    With fixed predictions the recursion is linear and its fixed point is the exact
    gradient on every graph; at rate 1 it is reached after as many steps as the longest
    path of nodes (`circuit.depth`). A teaching signal that needs k steps arrives after
    T steps with the weight P[Binomial(T, rate) >= k]. So steps beyond the
    longest path are summed in closed form, with as many pulls as that path is long;
    hand in `inference=optax.sgd(rate)` to take them one by one.

    Args:
      steps: how many steps values take, at most.
      rate: their size; None is 1.0 with fixed predictions and 0.1 with free ones, which
        overshoot at 1 (0.3 for errors as variables). Not used with an optax
        transformation.
      prediction: `"fixed"` at the feed-forward values, or `"free"` to follow the
        values (traditional predictive coding; not backpropagation).
      inference: None for plain gradient steps, any `optax.GradientTransformation`,
        `Sweep()` for visits one node at a time, `DifferentialEquation()`, and for free
        predictions `ErrorRelaxation()`, `ConjugateGradients()` or `ZeroDivergence()`.
      precision: how much errors count: a number, one for each node,
        `DecayingPrecision()` or `LearnedPrecision()`; None: 1.
      nudge: `Nudge(strength, kind)` for a loss that pulls weakly; None: fully.
      feedback: `RandomFeedback()` to carry errors back by other weights; None: by the
        forward ones.
      derivative: whether errors pass the derivative of the nonlinearity on their way
        through a unit, to values and to parameters.
      tolerance: the residual at which inference ends before its last step; 0: never.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.PredictiveCoding())
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> credit = learner(w, state, x)
      >>> bool(jnp.allclose(credit.grads["a"], jax.grad(loss_fn)(w, x)["a"]))
      True

    Source: Whittington & Bogacz 2017, Neural Computation 29; Millidge, Tschantz &
    Buckley 2020, arXiv:2006.04182; Rosenbaum 2022, PLOS ONE 17(3).
    """

    steps: int = static(default=20)
    rate: float | None = None
    prediction: str = static(default="fixed")
    inference: Inference | None = static(default=None)
    precision: Any = static(default=None)
    nudge: Nudge | None = static(default=None)
    feedback: RandomFeedback | None = static(default=None)
    derivative: bool = static(default=True)
    tolerance: float = static(default=0.0)

    citation: ClassVar[str] = (
        "@article{millidge2022predictive, title={Predictive Coding Approximates "
        "Backprop Along Arbitrary Computation Graphs}, author={Millidge, Beren and "
        "Tschantz, Alexander and Buckley, Christopher L.}, journal={Neural "
        "Computation}, volume={34}, year={2022}}"
    )
    search_space: ClassVar[SearchSpace] = {"rate": (0.01, 1.0, "log")}

    @property
    def needs(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> tuple[str, ...]:
        """What the chosen parts need; a solver needs a backward pass of the whole."""
        found = ["separate phases", "update locking", "signed error units"]
        if self.feedback is None:
            found.insert(0, "weight transport")
        if self.derivative:
            found.append("derivative of the nonlinearity")
        if isinstance(self.inference, _SOLVERS):
            found.append("global error")
        return tuple(found)

    def __post_init__(self) -> None:
        check_choice(self.prediction, "prediction", ("fixed", "free"))
        check_whole(self.steps, "steps")
        check_positive(self.rate, "rate")
        check_positive(self.tolerance, "tolerance", or_zero=True)
        if isinstance(self.precision, Mapping):  # static fields must have a hash
            pairs = tuple(sorted(self.precision.items()))
            object.__setattr__(self, "precision", pairs)
        as_precision(self.precision)
        for name, kind in (("nudge", Nudge), ("feedback", RandomFeedback)):
            given = getattr(self, name)
            if given is not None and not isinstance(given, kind):
                raise TypeError(
                    f"`{name}` must be `apical.rules.{kind.__name__}()` or None, not "
                    f"{given!r}."
                )
        self._check_inference()

    def _check_inference(self) -> None:
        given = self.inference
        if given is not None and not isinstance(given, (*_WAYS, tuple)):
            ways = ", ".join(f"`{kind.__name__}()`" for kind in _WAYS[1:])
            raise TypeError(
                "`inference` must be an optax transformation, as `optax.adam(0.1)` "
                f"makes one, or one of {ways}, not {given!r}."
            )
        way = self._way
        if isinstance(way, _FREE_ALONE):
            name = type(way).__name__
            if self.prediction == "fixed":
                raise ValueError(
                    f"`{name}` needs `prediction='free'`: with fixed predictions the "
                    "steps are linear, and `Sweep()` is exact at once."
                )
            if not self.derivative:
                raise ValueError(
                    f"`{name}` descends the energy itself, so it needs "
                    "`derivative=True`; use steps of the values."
                )
        if isinstance(way, ZeroDivergence) and self.precision is not None:
            raise ValueError(
                "`ZeroDivergence` has no divergence from backpropagation only where "
                "every error counts alike: leave `precision` at None."
            )
        rounds = (Sweep, ConjugateGradients, ZeroDivergence)
        if isinstance(way, rounds) and self.tolerance:
            raise ValueError(
                f"`{type(way).__name__}` takes as many rounds as it is told: leave "
                "`tolerance` at 0."
            )

    @property
    def _way(self) -> Any:
        given = self.inference
        return given if isinstance(given, _WAYS) else Relaxation(given)

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Check that nodes are separated and that the examples can be counted."""
        del args
        circuit.require_nodes()
        _ = circuit.scale
        if isinstance(self.inference, Sweep):
            self.inference.visits(circuit)
            if not self._is_one_reverse_pass:
                self.inference.require_whole_visits(circuit)
        if isinstance(self.inference, _SOLVERS):
            _ = circuit.example_axes  # each example has steps of its own
        precision = as_precision(self.precision)
        if precision is None and self.feedback is None:
            return ()
        return Parts(
            () if precision is None else precision.init(circuit),
            () if self.feedback is None else self.feedback.init(circuit, key, params),
        )

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Settle, and pull the errors back through what made each node."""
        ends = self._settle(circuit, params, state, args)
        end = ends[0]
        # Of two settlings the one that is farther from rest.
        residual = jnp.max(jnp.stack([jnp.asarray(each.residual) for each in ends]))
        info = settling(circuit, end.errors, residual, end.steps)
        grads = circuit.leaves.build(self._gradients(ends))
        after = self._learned(circuit, state, end.errors, grads)
        return Credit(end.value, end.aux, grads, after, info)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """Values and predictions after settling; the teaching signal: -pi e / pull."""
        end, *_ = self._settle(circuit, params, state, args)
        scale = circuit.scale * self._pulls[0]
        weighted = self.terms(circuit, params, state, args).weighted(end.errors)
        return {
            n: Signal(end.values[n], end.values[n] - e, -weighted[n] / scale)
            for n, e in end.errors.items()
        }

    @property
    def _pulls(self) -> tuple[float, ...]:
        return (1.0,) if self.nudge is None else self.nudge.pulls

    def _gradients(self, ends: list[Settled]) -> list[jax.Array]:
        """The mean over the settlings of the gradient over the pull."""
        if self.nudge is None:
            return ends[0].grads
        factors = [1 / (len(ends) * pull) for pull in self._pulls]
        parts = zip(*(end.grads for end in ends), strict=True)
        return [
            sum((f * g for f, g in zip(factors, each, strict=True)), jnp.zeros(()))
            for each in parts
        ]

    def _learned(self, circuit: Circuit, state: Any, errors: Any, grads: Any) -> Any:
        """The state of the parts after a batch."""
        precision = as_precision(self.precision)
        if precision is not None:
            learned = precision.learned(circuit, state.precision, errors)
            state = state._replace(precision=learned)
        if self.feedback is not None:
            moved = self.feedback.learned(state.feedback, grads)
            state = state._replace(feedback=moved)
        return state

    def terms(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Terms:
        """What stands in the energy, at the (first) pull of the nudge."""
        precision = as_precision(self.precision)
        return Terms(
            circuit,
            params,
            args,
            pull=self._pulls[0],
            precision=None
            if precision is None
            else precision.at(circuit, state.precision),
            feedback=None if self.feedback is None else state.feedback.weights,
            derivative=self.derivative,
        )

    def _settle(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> list[Settled]:
        """One settling for each pull."""
        terms = self.terms(circuit, params, state, args)
        return [self._settle_one(terms._replace(pull=p)) for p in self._pulls]

    def _settle_one(self, terms: Terms) -> Settled:
        budget = Budget(self.steps, self.step_size, self.tolerance)
        if self.prediction == "free":
            return self._way.settle(Free(terms), budget)
        if self._is_one_reverse_pass:
            return sweep_exactly(terms)
        linear = linearise(terms)
        if self._has_closed_form(terms):
            return relax_in_closed_form(linear, self.steps, self.step_size)
        return self._way.settle(linear, budget)

    @property
    def step_size(self) -> Any:
        """The rate, given or by default."""
        if self.rate is not None:
            return self.rate
        if self.prediction == "fixed":
            return 1.0
        return 0.3 if isinstance(self.inference, ErrorRelaxation) else 0.1

    @property
    def _is_one_reverse_pass(self) -> bool:
        """Whether a sweep is reverse-mode differentiation, also inside loops."""
        way, rate = self.inference, self.step_size
        back_to_front = isinstance(way, Sweep) and way.order is None
        whole = isinstance(rate, (int, float)) and rate == 1
        usual = self.prediction == "fixed" and self.precision is None
        return back_to_front and whole and usual and self.derivative

    def _has_closed_form(self, terms: Terms) -> bool:
        """Whether plain steps can be summed with fewer pulls than one a step."""
        plain = self.inference is None and not self.tolerance and not terms.precision
        circuit = terms.circuit
        return plain and circuit.linear_derivatives and circuit.depth < self.steps
