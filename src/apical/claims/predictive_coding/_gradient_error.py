"""The distance of predictive coding's gradient to the exact one, step by step.

    step     v <- v - rate dE/dv                                 all nodes at once
    visit    v_n <- v_n - rate dE/dv_n                           one node, others held

`apical.rules.PredictiveCoding` takes the same steps with `inference=optax.sgd(rate)`,
and the same visits with `Sweep(order=...)`. Here one step is compiled once, and the
gradient can be compared after any number of them. Predictions are fixed.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import apical
from apical.circuit import trace_program
from apical.claims.predictive_coding._untrained_networks import Problem
from apical.measure import sequential_depth
from apical.rules._local_derivatives import LocalDerivatives, local_derivatives
from apical.rules._numerics import squared_norm
from apical.rules.predictive_coding._energy import EnergyTerms
from apical.rules.predictive_coding._fixed_prediction import FixedPredictionEnergy


class GradientError(NamedTuple):
    """The error of a gradient, relative to the exact one.

    Attributes:
        distance: the norm of the difference over the norm of the exact gradient.
        cosine: of the angle between them.
    """

    distance: float
    cosine: float


class FixedPredictionInference:
    """Inference with fixed predictions, compiled for one loss function.

    It works for all parameters and data of the same shapes.

    Args:
        problem: gives the loss function and the shapes.
        nodes: which activities relax, as in `apical.value_and_grad`.
    """

    def __init__(self, problem: Problem, nodes: Any = "entry"):
        trace = apical.trace(problem.loss_fn, nodes=nodes, **problem.keywords)
        self.circuit = trace(problem.params, *problem.args)
        self._begin = jax.jit(self._forward)
        self._step = jax.jit(self._all_at_once)
        self._visit = jax.jit(self._one_by_one, static_argnums=2)
        self._pulled = jax.jit(self._found)

    def steps(
        self, problem: Problem, rate: float, at: Iterable[int]
    ) -> Iterator[tuple[int, GradientError]]:
        """The error after each of these numbers of steps, in ascending order."""
        network, exact = self._begin(problem.params, problem.args)
        errors, taken = self.circuit.zeros(), 0
        for wanted in at:
            for _ in range(wanted - taken):
                errors = self._step(network, errors, rate)
            taken = wanted
            yield wanted, gradient_error(self._pulled(network, errors), exact)

    def sweeps(
        self, problem: Problem, rate: float, order: tuple[str, ...]
    ) -> Iterator[GradientError]:
        """The error after one sweep over the nodes in this order, after two, ..."""
        network, exact = self._begin(problem.params, problem.args)
        errors = self.circuit.zeros()
        while True:
            errors = self._visit(network, errors, order, rate)
            yield gradient_error(self._pulled(network, errors), exact)

    def operations(self, problem: Problem) -> int | None:
        """Matrix products that follow one another in a step of all nodes."""
        network, _ = self._begin(problem.params, problem.args)

        def step(errors: Any) -> Any:
            return self._energy(network).slope(errors)

        return sequential_depth(trace_program(step, self.circuit.zeros())[0])

    def _forward(self, params: Any, args: Any) -> tuple[Any, Any]:
        """The network at its feed-forward values, and the exact gradient."""
        linear = local_derivatives(self.circuit, params, args)
        learned, fixed = self.circuit.leaves.split(params)

        def loss(learned: Any) -> Any:
            result = self.circuit.loss_fn(
                self.circuit.leaves.combine(learned, fixed), *args
            )
            return result[0] if self.circuit.spec.has_aux else result

        return (linear.value, linear.transposed), jax.grad(loss)(learned)

    def _energy(self, network: Any) -> FixedPredictionEnergy:
        value, transposed = network
        local = LocalDerivatives(self.circuit, value, None, {}, transposed)
        return FixedPredictionEnergy(EnergyTerms(self.circuit, None, None), local)

    def _all_at_once(self, network: Any, errors: Any, rate: Any) -> Any:
        slope = self._energy(network).slope(errors)
        return jax.tree.map(lambda e, s: e - rate * s, errors, slope)

    def _one_by_one(self, network: Any, errors: Any, order: Any, rate: Any) -> Any:
        for name in order:
            slope = self._energy(network).slope(errors)[name]
            errors = {**errors, name: errors[name] - rate * slope}
        return errors

    def _found(self, network: Any, errors: Any) -> Any:
        return self._energy(network).network.pull(1.0, errors)[0]


def gradient_error(found: Any, exact: Any) -> GradientError:
    """The error of a tree of gradients, each tree as one vector."""
    return GradientError(
        *(float(number) for number in _distance_and_cosine(found, exact))
    )


@jax.jit
def _distance_and_cosine(found: Any, exact: Any) -> tuple[jax.Array, jax.Array]:
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True))
    product = sum((jnp.vdot(f, e) for f, e in pairs), jnp.zeros(()))
    apart = squared_norm([f - e for f, e in pairs])
    ours, theirs = (squared_norm(each) for each in zip(*pairs, strict=True))
    cosine = product / jnp.sqrt(jnp.where(ours == 0, 1, ours) * theirs)
    return jnp.sqrt(apart / theirs), cosine
