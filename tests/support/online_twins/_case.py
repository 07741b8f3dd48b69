"""The record of one case: a loss with a loop, and the same loss with stops by hand."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Loss = Callable[..., jax.Array]
EXAMPLES, TIME, INPUTS, HIDDEN, OUTPUTS = 3, 8, 4, 5, 2


def stopped(tree: Any) -> Any:
    """The same tree, its floating-point arrays with no derivative."""
    return jax.tree.map(
        lambda leaf: lax.stop_gradient(leaf) if is_array(leaf) else leaf, tree
    )


def is_array(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


@dataclass(frozen=True)
class Paths:
    """What a loop passes back through time.

    Attributes:
        synapse: what a recurrent synapse passes: "everything", its "own" weight, which
            is that from a unit to itself, or "nothing".
        unit: the same where a unit reads its own state.
        upper: whether a layer passes to a lower one what it learns at later steps.
    """

    synapse: Literal["everything", "own", "nothing"]
    unit: bool
    upper: bool

    def cut(self, read: Any) -> Any:
        """What a recurrent synapse reads of the carry, but for its own weight."""
        return read if self.synapse == "everything" else stopped(read)

    def product(self, read: jax.Array, w: jax.Array) -> jax.Array:
        """`read @ w`, where `read` is what a recurrent synapse reads of the carry."""
        return self.cut(read) @ w + self.own_part(read, w)

    def beside(self, x: jax.Array, read: jax.Array, w: jax.Array) -> jax.Array:
        """`[x, read] @ w`."""
        both = jnp.concatenate([x, self.cut(read)], -1) @ w
        return both + self.own_part(read, w[x.shape[-1] :])

    def own_part(self, read: jax.Array, w: jax.Array) -> jax.Array | float:
        """Zero, with the derivative by `read` of the product with own weights alone.

        Of a weight matrix to several gates, side by side, each gate has its own.
        """
        if self.synapse != "own":
            return 0.0
        gates = w.shape[1] // len(w)
        own = jnp.tile(jnp.eye(len(w)), gates) * stopped(w)
        return (read - stopped(read)) @ own

    def own(self, state: Any) -> Any:
        """What a unit reads of its own state."""
        return state if self.unit else stopped(state)

    def layer(self, step: Callable, weights: Any, carry: Any, x: Any) -> Any:
        """`step(weights, carry, x) -> carry, out`, its input taught by this step alone.

        The weights learn through the chain of carries; what the input gets passes
        through a second evaluation, in which weights and carry are constants.
        """
        if self.upper:
            return step(weights, carry, x)
        _, within = step(stopped(weights), stopped(carry), x)
        carry, out = step(weights, carry, stopped(x))
        return carry, joined(out, within)


BACKPROPAGATION = Paths(synapse="everything", unit=True, upper=True)
EPROP = Paths(synapse="nothing", unit=True, upper=False)
SNAP = Paths(synapse="own", unit=True, upper=False)
TRUNCATED = Paths(synapse="nothing", unit=False, upper=False)


def joined(value: Any, other: Any) -> Any:
    """The value of the first tree with the derivatives of both, which are equal."""
    return jax.tree.map(
        lambda a, b: a + (b - lax.stop_gradient(b)) if is_array(a) else a, value, other
    )


@dataclass(frozen=True)
class Case:
    """One loss with one or more loops.

    Attributes:
        name: its key in `CASES`.
        loss_fn: the loss as a user writes it, `loss_fn(params, *args)`.
        params: its parameters.
        args: its other arguments.
        rewritten: `rewritten(paths)` is the same loss by hand, with stops.
        batch_axes: where the examples are, as `in_axes` of `vmap`.
        same_as: which of "backpropagation", "truncated" and "snap" e-prop is equal to.
        note: what is special about it.
    """

    name: str
    loss_fn: Loss
    params: Any
    args: tuple[Any, ...]
    rewritten: Callable[[Paths], Loss]
    batch_axes: Any = 0
    same_as: frozenset[str] = field(default_factory=frozenset)
    note: str = ""

    def gradient(self, paths: Paths, params: Any = None, *args: Any) -> Any:
        """The gradient by `paths`; of the parameters of the case if none are given."""
        if params is None:
            params, args = self.params, self.args
        return gradient(self.rewritten(paths), params, *args)

    @property
    def twin(self) -> Loss:
        """The loss whose gradient, by `jax.grad`, is what e-prop says."""
        return self.rewritten(EPROP)


def gradient(loss_fn: Loss, params: Any, *args: Any) -> Any:
    """`jax.grad` over the floating-point leaves; None elsewhere."""
    return value_and_gradient(loss_fn, params, *args)[1]


def value_and_gradient(loss_fn: Loss, params: Any, *args: Any) -> tuple[Any, Any]:
    leaves, tree = jax.tree.flatten(params)

    def loss(learned):
        found = [n if is_array(o) else o for n, o in zip(learned, leaves, strict=True)]
        return loss_fn(tree.unflatten(found), *args)

    learned = [leaf if is_array(leaf) else None for leaf in leaves]
    value, grads = jax.value_and_grad(loss)(learned)
    return value, tree.unflatten(grads)


class Draw:
    """Reproducible arrays of the default type, made by numpy."""

    def __init__(self, seed: int):
        self._generator = np.random.default_rng(seed)

    def normal(self, *shape: int, size: float = 1.0, shift: float = 0.0) -> jax.Array:
        values = shift + size * self._generator.standard_normal(shape)
        return jnp.asarray(values, jnp.result_type(float))

    def weight(self, *shape: int, size: float = 1.0) -> jax.Array:
        return self.normal(*shape, size=size * math.prod(shape[:-1]) ** -0.5)

    def like(self, shapes: Any) -> Any:
        """Fill the abstract arrays of a framework's parameters, biases included."""

        def fill(leaf):
            if not is_array(leaf):
                return leaf
            size = math.prod(leaf.shape) ** -0.25 if leaf.ndim > 1 else 0.3
            return self.normal(*leaf.shape, size=size)

        return jax.tree.map(fill, shapes)

    def series(self, wide: int = INPUTS) -> tuple[jax.Array, jax.Array]:
        """Inputs and targets, `(examples, time, width)`."""
        return (
            self.normal(EXAMPLES, TIME, wide),
            self.normal(EXAMPLES, TIME, OUTPUTS),
        )


CASES: dict[str, Callable[[], Case]] = {}


def enter(name: str = "", **facts: Any):
    """Decorate `build(draw) -> (loss_fn, rewritten, params, args)`: a row of `CASES`.

    The case is built when it is asked for, with the default type of that moment.
    """

    def entered(build):
        key = name or build.__name__
        if key in CASES:
            raise ValueError(f"two cases are named {key!r}")
        seed = len(CASES)

        def make() -> Case:
            loss_fn, rewritten, params, args = build(Draw(seed))
            known = {"note": (build.__doc__ or "").strip(), **facts}
            known["same_as"] = frozenset(known.get("same_as", ()))
            return Case(key, loss_fn, params, args, rewritten, **known)

        CASES[key] = make
        return build

    return entered


def squared(prediction: jax.Array, target: jax.Array) -> jax.Array:
    return jnp.mean((prediction - target) ** 2)


def by_time(x: Any) -> Any:
    """From `(examples, time, ...)` to `(time, examples, ...)` or back."""
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), x)


def zeros(*widths: int) -> Any:
    """States of zeros, one array for each width."""
    states = tuple(jnp.zeros((EXAMPLES, width)) for width in widths)
    return states[0] if len(states) == 1 else states


@jax.custom_jvp
def spike(u: jax.Array) -> jax.Array:
    """A step at zero, with the surrogate derivative `1 / (1 + 4|u|)²`."""
    return (u > 0).astype(u.dtype)


@spike.defjvp
def _spike_jvp(primals, tangents):
    (u,), (du,) = primals, tangents
    return spike(u), du / (1 + 4 * jnp.abs(u)) ** 2
