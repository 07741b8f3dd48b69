"""Predictive coding: values settle between prediction and target, then weights learn.

For one example, with values v_n, predictions p_n and the loss L,

    E(v) = sum_n |v_n - p_n|^2 / 2 + L,         e_n = v_n - p_n

values descend E, then parameters do: d theta = -sum_n <e_n, dp_n/d theta> + dL/d theta.
Whittington & Bogacz 2017 (free predictions); Millidge, Tschantz & Buckley 2020 and
Rosenbaum 2022 (fixed: p_n and its derivatives stay at their feed-forward values).

| part       | what it determines                          | choices             |
|------------|---------------------------------------------|---------------------|
| prediction | whether p_n follows the values              | fixed, free         |
| inference  | how the values settle                       | optax, `Sweep`, ... |
| precision  | the weight of the error of each node        | a number, ...       |
| nudge      | the weight of the loss                      | 1, `Nudge`          |
| feedback   | the weights through which errors pass back  | theta, others       |
| derivative | whether errors are multiplied by rho'       | yes, no             |
| free       | the arguments that are inferred too         | none, masks         |
| amortised  | the initial values of these                 | as given, a network |

Inference, precision, nudge and feedback are small abstract classes that users can
extend.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ...circuit import Circuit, require_reduction
from .._base import Credit, Rule, SearchSpace, Signal, cited, rule, static
from .._call_checks import default_steps, warn_of_unreached_nodes
from ..feedback._relaxation_feedback import AbstractFeedback, beside_frozen
from ._amortised_start import AmortisedStart
from ._energy import AbstractEnergy, EnergyTerms, Settled, settling
from ._fixed_prediction import (
    FixedPredictionEnergy,
    relax_in_closed_form,
    sweep_exactly,
)
from ._free_prediction import FreePredictionEnergy
from ._latent_arguments import ArgumentMasks, FreeArguments, LatentArgumentEnergy
from ._nudge import AbstractNudge, combined
from ._part_compatibility import as_inference, check_parts
from ._precision import as_precision, init_precision, warn_of_growing_errors
from .inference._abstract import AbstractInference, Budget
from .inference._sweep import Sweep

# The minimum default number of steps; deep networks take more.
_LEAST_STEPS = 20


class PartStates(NamedTuple):
    """The states of the parts."""

    precision: Any
    feedback: Any
    amortised: Any


_MILLIDGE = (
    "@article{millidge2022predictive, title={Predictive Coding Approximates "
    "Backprop Along Arbitrary Computation Graphs}, author={Millidge, Beren and "
    "Tschantz, Alexander and Buckley, Christopher L.}, journal={Neural "
    "Computation}, volume={34}, year={2022}}"
)
_WHITTINGTON = (
    "@article{whittington2017approximation, title={An Approximation of the "
    "Error Backpropagation Algorithm in a Predictive Coding Network with "
    "Local Hebbian Synaptic Plasticity}, author={Whittington, James C. R. and"
    " Bogacz, Rafal}, journal={Neural Computation}, volume={29}, year={2017}}"
)


@rule
class PredictiveCoding(Rule):
    """Relax the values to an equilibrium, then learn from the local prediction errors.

        v_n <- v_n - rate dE/dv_n,   dE/dv_n = e_n - sum_m <e_m, dp_m/dv_n> + dL/dv_n

    where m are the nodes that n predicts directly. Energies are per example, so rates
    do not depend on the batch size.

    With fixed predictions the recursion is linear and its fixed point is the exact
    gradient on every graph; at rate 1 it is reached after as many steps as the longest
    path of nodes (`circuit.depth`). After T steps, a teaching signal that needs k steps
    to arrive has the weight P[Binomial(T, rate) >= k]. So if there are more steps than
    the longest path has nodes, they are summed in closed form, with one pull-back per
    node of that path; `inference=optax.sgd(rate)` takes them one by one.

    Args:
      steps: the maximum number of steps of inference. None: with fixed predictions and
        plain steps of size 1, one back-to-front sweep, which gives the same result;
        otherwise 20, or more in deep networks: the length of the longest path of nodes
        plus one step (to show that values have settled), or twice that length with free
        predictions, whose steps are smaller.
      rate: the step size. None: 1 with fixed predictions, divided by the precision of
        the node for plain steps and `Sweep`. With free predictions, whose
        curvature depends on the weights, it is adapted to the curvature of each
        example, measured during inference (0.1 for schemes that do not update all
        values at once; 0.3 for the first step of `ErrorRelaxation`). Not used with an
        optax transformation.
      prediction: `"fixed"` at the feed-forward values, or `"free"` to follow the
        values (traditional predictive coding; not backpropagation).
      inference: None for plain gradient steps, any `optax.GradientTransformation`,
        `Sweep()` to update one node at a time, `DifferentialEquation()`, and for free
        predictions `ErrorRelaxation()`, `ConjugateGradients()` or `ZeroDivergence()`;
        or any other `AbstractInference`.
      precision: the weight pi_n of the errors: a number, a mapping from nodes to
        numbers, `DecayingPrecision()`, `LearnedPrecision()` or any other
        `AbstractPrecision`; None: 1.
      nudge: `Nudge(strength, kind)` for a small weight of the loss, or any other
        `AbstractNudge`; None: weight 1.
      feedback: `RandomFeedback()` to pass errors back through separate weights, or any
        other `AbstractFeedback`; None: through the forward weights.
      derivative: whether errors are multiplied by the derivative of the nonlinearity
        when they are pulled back to values and parameters.
      tolerance: the residual at which inference stops early; 0: never.
      free: which arguments after `params` are inferred together with the values: a
        tuple with True or False for each (or pytrees of these), or a function of the
        arguments that returns such a tuple, whose entries may be boolean arrays. With a
        free cause of the data the network is generative; with a part of the data free
        it completes the data. `predict` returns the inferred arguments, and `value` is
        the loss at these. Inference starts from the arguments as given.
      amortised: `AmortisedStart()` for a network that predicts the free arguments.

    Raises:
      ValueError: for incompatible parts; in `init`, if nodes are not separated, or if a
        part does not support the circuit.
      TypeError: for a part of the wrong type.

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

    steps: int | None = static(default=None)
    rate: float | None = None
    prediction: str = static(default="fixed")
    inference: AbstractInference | optax.GradientTransformation | None = static(
        default=None
    )
    precision: Any = static(default=None)
    nudge: AbstractNudge | None = static(default=None)
    feedback: AbstractFeedback | None = static(default=None)
    derivative: bool = static(default=True)
    tolerance: float = static(default=0.0)
    free: FreeArguments | None = static(default=None)
    amortised: AmortisedStart | None = static(default=None)

    search_space: ClassVar[SearchSpace] = {"rate": (0.01, 1.0, "log")}

    @property
    def needs(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> tuple[str, ...]:
        """The needs of the chosen parts."""
        found = ["separate phases", "update locking", "signed error units"]
        if self.prediction == "fixed":  # those of the forward pass, during inference
            found.append("stored activities")
        if self.feedback is None:
            found.insert(0, "weight transport")
        if self.derivative:
            found.append("derivative of the nonlinearity")
        found.extend(self._scheme.needs)
        precision = as_precision(self.precision)
        found.extend(() if precision is None else precision.needs)
        feedback_learns = self.feedback is not None and self.feedback.learns
        if feedback_learns or self.amortised is not None:
            found.append("second network")
        return tuple(dict.fromkeys(found))

    @property
    def citation(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> str:
        """The source of the predictions, and those of the chosen parts."""
        own = _MILLIDGE if self.prediction == "fixed" else _WHITTINGTON
        parts = (self.inference, as_precision(self.precision), self.nudge)
        return cited(own, *parts, self.feedback, self.amortised)

    def __post_init__(self) -> None:
        if isinstance(self.precision, Mapping):  # static fields must have a hash
            pairs = tuple(sorted(self.precision.items()))
            object.__setattr__(self, "precision", pairs)
        check_parts(self)

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """The states of the parts; raise for a circuit that they do not support."""
        if circuit.nodes or self.free is None:  # free arguments alone have an energy
            circuit.require_nodes(or_flat=True)
        _ = circuit.scale
        if self.prediction == "free":  # errors and loss need the same scale
            require_reduction(circuit, params, args)
        settles = circuit.nodes or self.free is not None
        if settles and not self._is_one_reverse_pass:
            scheme = self._scheme
            scheme.check(circuit)
            if reach := scheme.reach(circuit, self.prediction == "free", self.steps):
                name = type(self).__name__
                warn_of_unreached_nodes(name, reach.steps, reach.needed, reach.argument)
        precision = as_precision(self.precision)
        warn_of_growing_errors(self.rate, self.inference, precision, circuit)
        masks = ArgumentMasks(self.free, args)  # raises if it does not fit
        if precision is None and self.feedback is None and self.amortised is None:
            return ()
        whole, everything = beside_frozen(self.feedback, circuit, params, args)
        return PartStates(
            () if precision is None else init_precision(precision, circuit),
            () if self.feedback is None else self.feedback.init(whole, key, everything),
            () if self.amortised is None else self.amortised.init(key, masks),
        )

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Run inference, and pull the errors back to the parameters of each node."""
        ends = self._settle(circuit, params, state, args)
        end = ends[0]
        # The largest residual of all runs.
        residual = jnp.max(jnp.stack([jnp.asarray(each.residual) for each in ends]))
        info = settling(circuit, end.errors, residual, end.steps)
        own = len(circuit.leaves.learned)  # without those of frozen networks
        grads = circuit.leaves.combine(
            combined(self.nudge, [e.grads for e in ends])[:own]
        )
        after = self._update_parts(circuit, state, args, end, grads)
        return Credit(end.value, end.aux, grads, after, info)

    def backward_path(
        self, circuit: Circuit, params: Any, state: Any
    ) -> dict[str, Any]:
        """The feedback weights, if there are any."""
        del circuit, params
        own = self.feedback
        return {} if own is None else {"feedback": own.carry(state.feedback)}

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """Values and predictions after settling; the teaching signal: -pi e / pull."""
        end, *_ = self._settle(circuit, params, state, args)
        scale = circuit.scale * self._pulls[0]
        weighted = self._terms(circuit, params, state, args).weighted(end.errors)
        return {
            n: Signal(end.values[n], end.values[n] - e, -weighted[n] / scale)
            for n, e in end.errors.items()
        }

    def predict(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The output; or, with free arguments, all arguments after inference."""
        if self.free is None:
            return super().predict(circuit, params, state, args)
        return self._settle(circuit, params, state, args)[0].arguments

    def reference(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """Backpropagation's gradients, at the inferred arguments."""
        if self.free is not None:
            args = self._settle(circuit, params, state, args)[0].arguments
        return super().reference(circuit, params, state, args)

    @property
    def _pulls(self) -> tuple[float, ...]:
        return (1.0,) if self.nudge is None else self.nudge.pulls

    def _update_parts(
        self, circuit: Circuit, state: Any, args: Any, end: Settled, grads: Any
    ) -> Any:
        """The states of the parts after a call."""
        precision = as_precision(self.precision)
        if precision is not None:
            learned = precision.update(circuit, state.precision, end.errors)
            state = state._replace(precision=learned)
        if self.feedback is not None:
            moved = self.feedback.update(state.feedback, grads)
            state = state._replace(feedback=moved)
        if self.amortised is not None:
            masks, share = ArgumentMasks(self.free, args), 1 / circuit.batch_size
            guesses, found = state.amortised, end.arguments
            learned = self.amortised.update(guesses, masks, found, share)
            state = state._replace(amortised=learned)
        return state

    def energy(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> AbstractEnergy:
        """The energy that values descend, at the first weight of the nudge."""
        terms = self._terms(circuit, params, state, args)
        if self.free is not None:
            masks, guess = ArgumentMasks(self.free, args), None
            if self.amortised is not None:
                guess = self.amortised.guess(state.amortised, masks)
            return LatentArgumentEnergy(terms, masks, guess)
        if self.prediction == "free":
            return FreePredictionEnergy(terms)
        return FixedPredictionEnergy.of(terms)

    def _terms(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> EnergyTerms:
        precision, feedback = as_precision(self.precision), self.feedback
        whole, everything = beside_frozen(self.feedback, circuit, params, args)
        return EnergyTerms(
            whole,
            everything,
            args,
            pull=self._pulls[0],
            precision=None
            if precision is None
            else precision.at(circuit, state.precision),
            feedback=None if feedback is None else feedback.carry(state.feedback),
            derivative=self.derivative,
        )

    def _settle(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> list[Settled]:
        """The result of inference for each weight of the loss."""
        budget = Budget(self.steps_in(circuit), self.step_size, self.tolerance)
        if self.free is not None:
            energy = self.energy(circuit, params, state, args)
            return [self._scheme.settle(energy, budget)]
        terms = self._terms(circuit, params, state, args)
        each = (terms._replace(pull=pull) for pull in self._pulls)
        return [self._settle_nodes(here, budget) for here in each]

    def _settle_nodes(self, terms: EnergyTerms, budget: Budget) -> Settled:
        """Settle the values of nodes, by the cheapest exact computation."""
        if not terms.circuit.nodes:  # the energy is the loss
            return sweep_exactly(terms)
        if self.prediction == "free":
            return self._scheme.settle(FreePredictionEnergy(terms), budget)
        if self._is_one_reverse_pass:
            return sweep_exactly(terms)
        own = self.rate is None and isinstance(self.inference, Sweep | None)
        energy = FixedPredictionEnergy.of(terms, in_own_units=own)
        if self._has_closed_form(terms):
            return relax_in_closed_form(energy, budget.steps, budget.rate)
        return self._scheme.settle(energy, budget)

    @property
    def _scheme(self) -> AbstractInference:
        """The scheme of inference: gradient descent by default."""
        return as_inference(self.inference)

    @property
    def settles(self) -> bool:
        """Whether inference ends at a stationary point of the energy."""
        return self._scheme.settles

    def steps_in(self, circuit: Circuit) -> int:
        """The number of steps of inference, given or by default."""
        if self.steps is not None:
            return self.steps
        if self._scheme.reaches_all_nodes:
            return _LEAST_STEPS
        return default_steps(circuit, _LEAST_STEPS, whole=self.prediction == "fixed")

    @property
    def step_size(self) -> Any:
        """The rate, given or by default; None: adapted to the curvature."""
        if self.rate is not None:
            return self.rate
        if self.prediction == "fixed":
            return 1.0
        if self.inference is None and self.free is None:
            return None
        return self._scheme.default_rate

    @property
    def _is_one_reverse_pass(self) -> bool:
        """Whether the settings amount to reverse-mode differentiation."""
        scheme, rate = self.inference, self.step_size
        back_to_front = isinstance(scheme, Sweep) and scheme.order is None
        if scheme is None and self.steps is None and not self.tolerance:
            back_to_front = True  # the result of sufficiently many steps
        whole = isinstance(rate, (int, float)) and rate == 1
        usual = self.prediction == "fixed" and self.precision is None
        return back_to_front and whole and usual and self.derivative

    def _has_closed_form(self, terms: EnergyTerms) -> bool:
        """Whether plain steps can be summed with less than one pull-back per step."""
        plain = self.inference is None and not self.tolerance and not terms.precision
        circuit = terms.circuit
        enough = circuit.depth <= self.steps_in(circuit)
        return plain and circuit.linear_derivatives and enough
