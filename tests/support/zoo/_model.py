"""The record of one problem of the zoo."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Problem = tuple[Callable[..., Any], Any, tuple[Any, ...]]


@dataclass(frozen=True)
class Model:
    """A loss function with parameters and arguments to try it on.

    Attributes:
        name: its key in the table.
        make: `make(key) -> (loss_fn, params, args)`.
        batch_axes: where the examples are: `in_axes` of `vmap` over `args`.
        has_aux: whether `loss_fn` returns `(loss, aux)`.
        synapses: how many dots and convolutions of the traced program multiply a
            value that depends on parameters alone with a value that depends on
            `args`. Call sites are counted, the body of a loop once, every branch
            of a `cond`, and the bodies of custom rules too.
        note: what is special about it.
        separable: whether the loss is the mean of the losses of single examples
            (batch norm is not).
        exact: whether `jax.grad` is the derivative of the number that is computed
            (not so where a user's rule bends it, or where numbers are rounded).
        reversible: whether JAX has a gradient for it at all.
        either: for the table `OPAQUE`: rewriting is as good as refusing.
    """

    name: str
    make: Callable[[jax.Array], Problem]
    batch_axes: Any = 0
    has_aux: bool = False
    synapses: int = 0
    note: str = ""
    separable: bool = True
    exact: bool = True
    reversible: bool = True
    either: bool = False


class Draw:
    """Reproducible arrays from a key, made by numpy: nothing to compile."""

    def __init__(self, key: jax.Array):
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        words = np.asarray(jax.random.key_data(key) if typed else key)
        self._generator = np.random.default_rng(words.ravel().tolist())

    def normal(self, *shape: int, scale: float = 1.0, shift: float = 0.0) -> jax.Array:
        values = shift + scale * self._generator.standard_normal(shape)
        return jnp.asarray(values.astype(np.float32))

    def weight(self, *shape: int, fan_in: int | None = None) -> jax.Array:
        fan_in = math.prod(shape[:-1]) if fan_in is None else fan_in
        return self.normal(*shape, scale=fan_in**-0.5)

    def bias(self, *shape: int) -> jax.Array:
        return self.normal(*shape, scale=0.3)

    def gain(self, *shape: int) -> jax.Array:
        return self.normal(*shape, scale=0.2, shift=1.0)

    def mask(self, *shape: int) -> jax.Array:
        """Half ones and half zeros, shuffled, so that neither can be missing."""
        values = np.arange(math.prod(shape)) % 2
        mask = self._generator.permutation(values).reshape(shape)
        return jnp.asarray(mask.astype(np.float32))

    def ids(self, *shape: int, below: int) -> jax.Array:
        values = self._generator.integers(below, size=shape, dtype=np.int32)
        return jnp.asarray(values)

    def like(self, shapes: Any) -> Any:
        """Fill the abstract arrays of a framework's parameters, biases included."""
        return jax.tree_util.tree_map_with_path(self._leaf, shapes)

    def _leaf(self, path: Any, leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        if leaf.ndim > 1:
            return self.normal(*leaf.shape, scale=math.prod(leaf.shape) ** -0.25)
        scale = "scale" in jax.tree_util.keystr(path)
        return self.gain(*leaf.shape) if scale else self.bias(*leaf.shape)


def enter(table: dict[str, Model], **facts: Any) -> Callable[..., Any]:
    """Decorate `build(draw) -> (loss_fn, params, args)`: a row of the table."""

    def entered(build: Callable[[Draw], Problem]) -> Callable[[Draw], Problem]:
        add(table, build.__name__, build, note=inspect.getdoc(build) or "", **facts)
        return build

    return entered


def add(table: dict[str, Model], name: str, build: Callable, **facts: Any) -> None:
    if name in table:
        raise ValueError(f"the zoo has two problems named {name!r}")
    table[name] = Model(name, lambda key: build(Draw(key)), **facts)


def squared(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Half the squared error, summed within and averaged over the examples."""
    return 0.5 * jnp.sum((prediction - target) ** 2) / prediction.shape[0]


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over every leading axis."""
    logs = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(logs, labels[..., None], axis=-1))


def learned(params: Any) -> tuple[dict[str, jax.Array], Callable[[Any], Any]]:
    """Return the learned leaves by path, and what puts others in their place."""
    paths, tree = jax.tree_util.tree_flatten_with_path(params)
    named = [(jax.tree_util.keystr(path), leaf) for path, leaf in paths]
    leaves = {name: leaf for name, leaf in named if is_learned(leaf)}

    def rebuild(leaves: dict[str, jax.Array]) -> Any:
        return tree.unflatten([leaves.get(name, leaf) for name, leaf in named])

    return leaves, rebuild


def is_learned(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


def backpropagation(loss_fn: Callable, params: Any, *args: Any, has_aux: bool = False):
    """Return `jax.value_and_grad` over the learned leaves: the gradient by path."""
    leaves, rebuild = learned(params)

    def loss(leaves):
        return loss_fn(rebuild(leaves), *args)

    return jax.value_and_grad(loss, has_aux=has_aux)(leaves)
