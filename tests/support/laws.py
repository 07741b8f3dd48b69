"""A problem of the zoo with its circuit, and the distance between two trees."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient as sg

import apical
from support.zoo import MODELS, OPERATIONS

EVERY = {**MODELS, **OPERATIONS}
# Numbers of 8 or 11 bits somewhere in the model; elsewhere floating-point rounding.
ROUNDED = {"between_cast", "bfloat16", "preferred_element_type"}


class Problem(NamedTuple):
    """A loss function with parameters and arguments, and its circuit."""

    loss_fn: Callable[..., Any]
    params: Any
    args: tuple[Any, ...]
    circuit: apical.Circuit
    tolerance: float = 2e-5

    @property
    def learned(self):
        return self.circuit.learned(self.params)

    @property
    def keywords(self) -> dict[str, Any]:
        setting = self.circuit.spec
        return {"has_aux": setting.has_aux, "batch_axes": setting.batch_axes}

    def loss(self, learned, args):
        result = self.loss_fn(self.circuit.merged(self.params, learned), *args)
        return result if self.circuit.spec.has_aux else (result, None)

    def run(self, learned, args, **options) -> Any:
        params = self.circuit.merged(self.params, learned)
        return self.circuit.run(params, args, **options)

    def by_path(self, tree) -> dict[str, np.ndarray]:
        leaves = map(np.asarray, jax.tree.leaves(tree))
        return dict(zip(self.circuit.leaves.names, leaves, strict=True))

    def changed(self, found, expected) -> set[str]:
        """The leaves of two gradients that clearly differ."""
        pair = self.by_path(found), self.by_path(expected)
        return {
            path for path in pair[0] if distance(pair[0][path], pair[1][path]) > 1e-2
        }


def traced(loss_fn, params, *args, **keywords) -> Problem:
    circuit = apical.trace(loss_fn, **keywords)(params, *args)
    return Problem(loss_fn, params, args, circuit)


@functools.cache
def problem(name: str) -> Problem:
    model = EVERY[name]
    loss_fn, params, args = model.make(jax.random.key(0))
    found = traced(
        loss_fn, params, *args, has_aux=model.has_aux, batch_axes=model.batch_axes
    )
    return found._replace(tolerance=1e-2) if name in ROUNDED else found


def drawn(tree, seed: int = 1):
    """Other weights of about the same size."""
    numbers = np.random.default_rng(seed)

    def draw(leaf):
        size = float(np.sqrt(np.mean(np.square(leaf, dtype=np.float64))))
        return jnp.asarray(
            numbers.normal(scale=size, size=leaf.shape).astype(leaf.dtype)
        )

    return jax.tree.map(draw, tree)


def stacked(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def row(index: int, tree):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def dotted(one, other):
    """The inner product of two trees."""
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, one, other)))


def distance(found, expected) -> float:
    """The largest difference, relative to the largest number expected."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    size = np.max(np.abs(expected), initial=1e-6)
    return float(np.max(np.abs(found - expected), initial=0) / size)


def assert_same(found, expected, tolerance: float = 1e-5) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    apart = jax.tree.map(distance, found, expected)
    assert all(d <= tolerance for d in jax.tree.leaves(apart)), apart


def gradients(found, *copies):
    """The gradient of JAX, and those through other weights."""

    @jax.jit
    def compute(learned, copies):
        def through(copy):
            return jax.grad(lambda p: found.run(p, found.args, feedback=copy).loss)

        own = jax.grad(lambda p: found.loss(p, found.args)[0])(learned)
        return own, jax.vmap(lambda copy: through(copy)(learned))(copies)

    own, others = compute(found.learned, stacked(*copies))
    return own, *(row(i, others) for i in range(len(copies)))


def assert_rewritten(found, lowest: set[str]) -> None:
    """Feedback through the weights is the gradient; other feedback is not."""
    own, itself, other = gradients(found, found.learned, drawn(found.learned))
    assert_same(itself, own, 1e-4)
    assert lowest <= found.changed(other, own)


def through(operation, x, w, b):
    """Read `operation(x, w)`; w has its own gradient, that of x goes through b."""
    there = operation(x, sg(b))
    return operation(sg(x), w) + (there - sg(there))


def dot(x, w, b):
    return through(jnp.matmul, x, w, b)


def normal(seed: int, *shape: int, size: float = 1.0):
    return size * jax.random.normal(jax.random.key(seed), shape)
