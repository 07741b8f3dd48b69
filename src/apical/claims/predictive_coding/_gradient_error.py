"""Predictive coding with fixed predictions, one literal step after another.

    step     v <- v - rate dE/dv                                 all nodes at once
    visit    v_n <- v_n - rate dE/dv_n                           one node, others held

`apical.rules.PredictiveCoding` takes the same steps with `inference=optax.sgd(rate)`,
and the same visits with `Sweep(order=...)`. Here one step is compiled once, and the
gradient can be looked at after any number of them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

import apical
from apical.claims._networks import LETTERS
from apical.lab.data._labels import Classes
from apical.lab.models import MODELS
from apical.lab.training._loss import Loss
from apical.rules._local_derivatives import LocalDerivatives, local_derivatives
from apical.rules._numerics import squared_norm
from apical.rules.predictive_coding._energy import EnergyTerms
from apical.rules.predictive_coding._fixed_prediction import FixedPredictionEnergy

# ---- What a rule is looked at on without training: networks at their initial weights.
#
# The inputs are random, of the shapes that the data have: whether a gradient is exact,
# and what it costs, depends on the graph and on shapes, not on what the pictures show.


class Problem(NamedTuple):
    """A loss function, its parameters, its other arguments, and what is said of it."""

    loss_fn: Callable[..., Any]
    params: Any
    args: tuple[Any, ...]
    keywords: dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """A network and the shapes of its batch.

    Attributes:
        build: `build(key, shape, classes)` makes the network.
        shape: of one input: `(channels, height, width)`, or `(time,)` of letters.
        classes: of its output.
        examples: in the batch.
        answers: `"one"` class for an input, or one for `"every"` letter of it.
    """

    build: Callable[..., Any]
    shape: tuple[int, ...]
    classes: int
    examples: int
    answers: str = "one"

    @cached_property
    def _built(self) -> Callable[[Array], tuple[Any, Any]]:
        """Network and statistics from a key; compiled, as there are many seeds."""

        def built(key: Array) -> tuple[Any, Any]:
            made = self.build(key, self.shape, self.classes)
            return made if type(made) is tuple else (made, None)

        return eqx.filter_jit(built)

    @cached_property
    def _loss(self) -> Loss:
        model, _ = self._built(jax.random.key(0))
        static = eqx.partition(model, eqx.is_array)[1]
        return Loss(static, Classes(self.classes), "squared-error")

    def problem(self, seed: int) -> Problem:
        """The loss, the initial weights of a seed, and a batch drawn from it."""
        weights, inputs, labels = jax.random.split(jax.random.key(seed), 3)
        model, statistics = self._built(weights)
        x = self._inputs(inputs)
        wanted = x.shape if self.answers == "every" else (self.examples,)
        y = jax.random.randint(labels, wanted, 0, self.classes)
        params = eqx.partition(model, eqx.is_array)[0]
        keywords = {"has_aux": True, "batch_axes": Loss.batch}
        return Problem(self._loss.training, params, (statistics, x, y), keywords)

    def _inputs(self, key: Array) -> Array:
        size = (self.examples, *self.shape)
        if len(self.shape) > 1:
            return jax.random.normal(key, size)
        letters = self.classes if self.answers == "every" else LETTERS
        return jax.random.randint(key, size, 0, letters)


def residual(shape: tuple[int, ...], examples: int) -> Subject:
    """The lab's residual network, with batch norm."""
    return Subject(MODELS["resnet"].build, shape, 10, examples)


def transformer(time: int, examples: int) -> Subject:
    """The lab's transformer: two layers of causal attention."""
    return Subject(MODELS["transformer"].build, (time,), 65, examples, "every")


class Gap(NamedTuple):
    """How far a gradient is from the exact one.

    Attributes:
        distance: the norm of the difference over the norm of the exact gradient.
        cosine: of the angle between them.
    """

    distance: float
    cosine: float


class Recursion:
    """The inference of one loss function, for any parameters and data of these shapes.

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
        self, problem: Problem, rate: float, looks: Iterable[int]
    ) -> Iterator[tuple[int, Gap]]:
        """The gap after each of these numbers of steps, in ascending order."""
        network, exact = self._begin(problem.params, problem.args)
        errors, taken = self.circuit.zeros(), 0
        for look in looks:
            for _ in range(look - taken):
                errors = self._step(network, errors, rate)
            taken = look
            yield look, gap(self._pulled(network, errors), exact)

    def sweeps(
        self, problem: Problem, rate: float, order: tuple[str, ...]
    ) -> Iterator[Gap]:
        """The gap after one sweep over the nodes in this order, after two, ..."""
        network, exact = self._begin(problem.params, problem.args)
        errors = self.circuit.zeros()
        while True:
            errors = self._visit(network, errors, order, rate)
            yield gap(self._pulled(network, errors), exact)

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


def gap(found: Any, exact: Any) -> Gap:
    """How far one tree of gradients is from another, each as one vector."""
    return Gap(*(float(number) for number in _gap(found, exact)))


@jax.jit
def _gap(found: Any, exact: Any) -> tuple[jax.Array, jax.Array]:
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True))
    product = sum((jnp.vdot(f, e) for f, e in pairs), jnp.zeros(()))
    apart = squared_norm([f - e for f, e in pairs])
    ours, theirs = (squared_norm(each) for each in zip(*pairs, strict=True))
    cosine = product / jnp.sqrt(jnp.where(ours == 0, 1, ours) * theirs)
    return jnp.sqrt(apart / theirs), cosine
