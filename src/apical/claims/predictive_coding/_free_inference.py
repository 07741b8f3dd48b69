"""Inference with free predictions, tick by tick, compiled for one loss function.

    tick     v <- v - rate dE/dv                                 all nodes at once

as `apical.rules.IncrementalPredictiveCoding(streaming=True)` takes them with weights
that stay. Here one can begin at any values, and the gradient is compared after every
tick.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

import apical
from apical.circuit import trace_program
from apical.claims.predictive_coding._untrained_networks import Problem
from apical.measure import sequential_depth
from apical.rules._numerics import NodeArrays, root_of_ratio, squared_norm
from apical.rules.predictive_coding._energy import EnergyTerms
from apical.rules.predictive_coding._free_prediction import FreePredictionEnergy


class Rest(NamedTuple):
    """The state in which values have settled.

    Attributes:
        values: of the nodes.
        grads: of the weights.
        residual: the norm of dE/dv, relative to that before the first tick.
    """

    values: NodeArrays
    grads: Any
    residual: Array


class FreePredictionInference:
    """Inference with free predictions; for all parameters and data of these shapes.

    Args:
        problem: gives the loss function and the shapes.
    """

    def __init__(self, problem: Problem):
        trace = apical.trace(problem.loss_fn, nodes="entry", **problem.keywords)
        self.circuit = trace(problem.params, *problem.args)
        self._rest = jax.jit(self._settle, static_argnums=4)
        self._watch = jax.jit(self._followed, static_argnums=5)

    def start(self, problem: Problem) -> NodeArrays:
        """The feed-forward values."""
        return self._energy(problem.params, problem.args).start

    def rest(
        self, problem: Problem, values: NodeArrays, rate: float, ticks: int
    ) -> Rest:
        """The values, and the gradient, after this many ticks from these values."""
        return self._rest(problem.params, problem.args, values, rate, ticks)

    def cosines(
        self, problem: Problem, begin: NodeArrays, wanted: Any, rate: float, ticks: int
    ) -> Array:
        """The cosine to a gradient before the first tick, and after each of them."""
        return self._watch(problem.params, problem.args, begin, wanted, rate, ticks)

    def operations(self, problem: Problem) -> tuple[int | None, int | None]:
        """Matrix products that follow one another in a tick, and in a gradient.

        Counted on the traced programs, as `apical.measure.cost` counts them; of a tick
        from one value to the next, so that what can be done at once counts once.
        """
        values = self.start(problem)
        programs = (
            lambda v: self._energy(problem.params, problem.args).slope(v),
            lambda v: self._energy(problem.params, problem.args).pulled(v)[0],
        )
        tick, gradient = (
            sequential_depth(trace_program(each, values)[0]) for each in programs
        )
        return tick, gradient

    def _energy(self, params: Any, args: Any) -> FreePredictionEnergy:
        return FreePredictionEnergy(EnergyTerms(self.circuit, params, args))

    def _tick(
        self, energy: FreePredictionEnergy, rate: Any, at: NodeArrays
    ) -> NodeArrays:
        return jax.tree.map(lambda v, s: v - rate * s, at, energy.slope(at))

    def _settle(
        self, params: Any, args: Any, begin: NodeArrays, rate: Any, ticks: int
    ) -> Rest:
        energy = self._energy(params, args)
        tick = partial(self._tick, energy, rate)
        values = jax.lax.fori_loop(0, ticks, lambda _, at: tick(at), begin)
        first, last = (squared_norm(energy.slope(at)) for at in (begin, values))
        residual = root_of_ratio(last, first)
        return Rest(values, energy.pulled(values)[0], residual)

    def _followed(
        self,
        params: Any,
        args: Any,
        begin: NodeArrays,
        wanted: Any,
        rate: Any,
        ticks: int,
    ) -> Array:
        energy = self._energy(params, args)

        def cosine(at: NodeArrays) -> Array:
            found = energy.pulled(at)[0]
            pairs = list(zip(found, wanted, strict=True))
            product = sum((jnp.vdot(a, b) for a, b in pairs), jnp.zeros(()))
            return (
                root_of_ratio(product**2, squared_norm(found))
                * jnp.sign(product)
                / jnp.sqrt(squared_norm(wanted))
            )

        def step(at: NodeArrays, _: None) -> tuple[NodeArrays, Array]:
            after = self._tick(energy, rate, at)
            return after, cosine(after)

        _, found = jax.lax.scan(step, begin, None, ticks)
        return jnp.concatenate([cosine(begin)[None], found])
