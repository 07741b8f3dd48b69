"""Test cases: a rule on a problem, its calls, and comparisons of their results."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..circuit import Circuit
from ..rules import Rule
from ..rules._base import Credit
from ..rules._train_step import Trainer, train_step
from ._problem import Problem

# Two seeds, so that `vmap` over them cannot reuse one state.
SEEDS = (11, 12)
# Tolerance of single precision, for sums in another order.
CLOSE = 1e-4


class Call(NamedTuple):
    """The result of one call; only coupled rules change the parameters."""

    params: Any
    state: Any
    credit: Credit


class Case:
    """A rule on a problem, with cached results that several laws use."""

    def __init__(
        self, problem: Problem, optimizer: optax.GradientTransformation
    ) -> None:
        _, self.learner, self.params, self.args, self.stream = problem
        self.optimizer = optimizer
        self.state: Any = None

    @property
    def rule(self) -> Rule:
        return self.learner.rule

    def step_of(self, rule: Rule) -> Trainer:
        """The training step of this problem, for the rule with other numbers."""
        return train_step(self.learner.with_rule(rule), self.optimizer)

    @cached_property
    def step(self) -> Trainer:
        return train_step(self.learner, self.optimizer)

    @cached_property
    def circuit(self) -> Circuit:
        return self.learner.circuit(self.params, *self.args)

    def init(self, key: jax.Array, params: Any, step: Trainer | None = None) -> Any:
        step = self.step if step is None else step
        maker = step if self.rule.coupled else step.learner
        return maker.init(key, params, *self.args)

    def reset(self, state: Any, args: Any) -> Any:
        maker = self.step if self.rule.coupled else self.learner
        return maker.reset(self.params, state, *args)

    def call(
        self, params: Any, state: Any, args: Any, step: Trainer | None = None
    ) -> Call:
        step = self.step if step is None else step
        if self.rule.coupled:
            return Call(*step(params, state, *args))
        credit = step.learner.credit(params, state, *args)
        return Call(params, credit.state, credit)

    def rule_state(self, state: Any) -> Any:
        """The rule's own part of a state."""
        return state.rule if self.rule.coupled else state

    @cached_property
    def eager(self) -> Call:
        """One call without `jit`."""
        return self.call(self.params, self.state, self.args)

    @cached_property
    def compiled(self) -> Callable[..., Call]:
        return jit_arrays(self.call)

    @cached_property
    def jitted(self) -> Call:
        return self.compiled(self.params, self.state, self.args)


def jit_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function whose arguments and results may hold leaves of any kind.

    Arrays are traced; other leaves of the arguments (a module's activation function)
    are closed over, and those of the results become None.
    """

    def call(*given: Any) -> Any:
        flat, treedef = jax.tree.flatten(given)
        traced = [i for i, leaf in enumerate(flat) if is_array(leaf)]
        key = (treedef, *(repr(x) for i, x in enumerate(flat) if i not in traced))
        if key not in programs:
            programs[key] = jax.jit(lambda xs: arrays_of(function(*fill(flat, xs))))

        def fill(flat: list[Any], xs: Any) -> Any:
            filled = [*flat]
            for i, x in zip(traced, xs, strict=True):
                filled[i] = x
            return jax.tree.unflatten(treedef, filled)

        return programs[key]([flat[i] for i in traced])

    programs: dict[Any, Any] = {}
    return call


def is_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic))


def arrays_of(tree: Any) -> Any:
    """A tree with None in place of every leaf that is not an array."""
    return jax.tree.map(lambda leaf: leaf if is_array(leaf) else None, tree)


def numbers(leaf: Any) -> np.ndarray:
    """A leaf as a NumPy array; a typed key as its data."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    found = np.asarray(leaf)
    return found if np.iscomplexobj(found) else found.astype(np.float64)


def require_close(actual: Any, expected: Any, what: str, tolerance: float) -> None:
    """Require equal numbers in two trees, relative to the largest of the second."""
    actual, expected = arrays_of(actual), arrays_of(expected)
    require_same_structure(actual, expected, what)
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(expected)]
    ours, theirs = (list(map(numbers, jax.tree.leaves(t))) for t in (actual, expected))
    size = max([float(np.max(np.abs(x))) for x in theirs if x.size] or [0.0])
    for path, a, b in zip(paths, ours, theirs, strict=True):
        off = float(np.max(np.abs(a - b))) if a.size else 0.0
        if not off <= tolerance * size + 1e-12:
            raise AssertionError(
                f"{what}: {path or 'the number'} is off by {off:.3g}, where the "
                f"largest number is {size:.3g}"
            )


def require_same_structure(actual: Any, expected: Any, what: str) -> None:
    """Require the same structure, shapes and dtypes of two trees."""
    ours, theirs = jax.tree.structure(actual), jax.tree.structure(expected)
    if ours != theirs:
        raise AssertionError(f"{what}: the structure is {ours}, not {theirs}")
    pairs = zip(
        jax.tree.leaves_with_path(expected), jax.tree.leaves(actual), strict=True
    )
    for (path, b), a in pairs:
        kinds = [f"{x.dtype}{list(x.shape)}" for x in (a, b)]
        if kinds[0] != kinds[1]:
            name = jax.tree_util.keystr(path)
            raise AssertionError(f"{what}: {name} is {kinds[0]}, not {kinds[1]}")


def require_finite(tree: Any, what: str) -> None:
    """Require finite numbers in a tree."""
    for path, leaf in jax.tree.leaves_with_path(arrays_of(tree)):
        wrong = int(np.sum(~np.isfinite(numbers(leaf))))
        if wrong:
            name = jax.tree_util.keystr(path) or "it"
            raise AssertionError(
                f"{what}: {name} has {wrong} of {np.size(leaf)} numbers not finite"
            )
