"""Predictive coding: values relax until every node agrees with its neighbours.

For one example, with values v_n, predictions p_n and the loss L,

    E(v) = sum_n |v_n - p_n|^2 / 2 + L,         e_n = v_n - p_n

values descend E, then parameters do: d theta = -sum_n <e_n, dp_n/d theta> + dL/d theta.
Whittington & Bogacz 2017 (free predictions); Millidge, Tschantz & Buckley 2020 and
Rosenbaum 2022 (fixed: p_n and its derivatives stay at their feed-forward values).
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import optax

from ..circuit import Circuit
from ._fixed_prediction import linearise, relax_in_closed_form, sweep, sweep_exactly
from ._free_prediction import settle_free
from ._inference import Settled, Sweep, as_optimizer, relax
from ._rule import (
    Credit,
    Rule,
    SearchSpace,
    Signal,
    check_choice,
    check_positive,
    check_transformation,
    rule,
    squared_norm,
    static,
)

# Below this fraction of the first gradient the values count as settled.
_SETTLED = 1e-3
_RATES = {"fixed": 1.0, "free": 0.1}


class Settling(NamedTuple):
    """Diagnostics of inference.

    Attributes:
      energy: for each node, half its squared error, summed over the node and averaged
        over the examples.
      residual: the norm of dE/dv at the last step, relative to the first.
      settled: whether the residual fell below 1e-3 (never with numbers not finite).
    """

    energy: dict[str, jax.Array]
    residual: jax.Array
    settled: jax.Array


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
      steps: how many steps values take.
      rate: their size; None is 1.0 with fixed predictions and 0.1 with free ones, which
        overshoot at 1. Not used with an optax transformation.
      prediction: `"fixed"` at the feed-forward values, or `"free"` to follow the
        values (traditional predictive coding; not backpropagation).
      inference: None for plain gradient steps, any `optax.GradientTransformation`, or
        `Sweep()` for visits one node at a time (fixed predictions).

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
    inference: optax.GradientTransformation | Sweep | None = static(default=None)

    citation: ClassVar[str] = (
        "@article{millidge2022predictive, title={Predictive Coding Approximates "
        "Backprop Along Arbitrary Computation Graphs}, author={Millidge, Beren and "
        "Tschantz, Alexander and Buckley, Christopher L.}, journal={Neural "
        "Computation}, volume={34}, year={2022}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "separate phases",
        "derivative of the nonlinearity",
        "update locking",
        "signed error units",
    )
    search_space: ClassVar[SearchSpace] = {"rate": (0.01, 1.0, "log")}

    def __post_init__(self) -> None:
        check_choice(self.prediction, "prediction", ("fixed", "free"))
        if not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(
                f"`steps` must be a whole number above 0, not {self.steps!r}."
            )
        check_positive(self.rate, "rate")
        if self.inference is not None and not isinstance(self.inference, Sweep):
            check_transformation(self.inference, "inference")
        if self.prediction == "free" and isinstance(self.inference, Sweep):
            raise ValueError(
                "`Sweep` needs `prediction='fixed'`: with free predictions a visit has "
                "no closed form."
            )

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Check that nodes are separated and that the examples can be counted."""
        del key, params, args
        circuit.require_nodes()
        _ = circuit.scale
        if isinstance(self.inference, Sweep):
            self.inference.visits(circuit)
        return ()

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Settle, and pull the errors back through what made each node."""
        end = self._settle(circuit, params, args)
        share = 1 / circuit.batch_size
        energy = {n: share * squared_norm(e) / 2 for n, e in end.errors.items()}
        info = Settling(energy, end.residual, end.residual < _SETTLED)
        grads = circuit.leaves.build(end.grads)
        return Credit(end.value, end.aux, grads, state, info)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """Values and predictions after settling; the teaching signal is -e."""
        del state
        end, scale = self._settle(circuit, params, args), circuit.scale
        return {
            n: Signal(end.values[n], end.values[n] - e, -e / scale)
            for n, e in end.errors.items()
        }

    def _has_closed_form(self, circuit: Circuit) -> bool:
        """Whether plain steps can be summed with fewer pulls than one a step."""
        plain = self.inference is None and circuit.linear_derivatives
        return plain and circuit.depth < self.steps

    def _settle(self, circuit: Circuit, params: Any, args: Any) -> Settled:
        rate = _RATES[self.prediction] if self.rate is None else self.rate
        if self.prediction == "free":
            assert not isinstance(self.inference, Sweep)
            optimizer = as_optimizer(self.inference, rate)
            return settle_free(circuit, params, args, optimizer, self.steps)
        exact = isinstance(rate, (int, float)) and rate == 1
        if isinstance(self.inference, Sweep) and self.inference.order is None and exact:
            return sweep_exactly(circuit, params, args)
        linear = linearise(circuit, params, args)
        if isinstance(self.inference, Sweep):
            self.inference.require_whole_visits(circuit)
            visits = self.inference.visits(circuit) * self.inference.sweeps
            errors, residual = sweep(linear, visits, rate)
        elif self._has_closed_form(circuit):
            errors, residual = relax_in_closed_form(linear, self.steps, rate)
        else:
            optimizer = as_optimizer(self.inference, rate)
            zeros = circuit.zeros()
            errors, residual = relax(
                circuit, linear.slope, zeros, optimizer, self.steps
            )
        return linear.settled(errors, residual)
