"""What the rules that only change the backward path have in common."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..circuit import Circuit, is_concrete
from ._rule import Credit


class Draw(NamedTuple):
    """How to draw one leaf: random numbers of a law, and what is made of them.

    Attributes:
      law: draws numbers, as `jax.random.normal(key, shape)`.
      make: `make(numbers, leaf, fan_in)`, for numbers of the leaf's shape and dtype.
    """

    law: Callable[[jax.Array, tuple[int, ...]], jax.Array]
    make: Callable[[jax.Array, jax.Array, int], jax.Array]


def through_feedback(
    circuit: Circuit, params: Any, args: Any, state: Any, **feedback: Any
) -> Credit:
    """The loss and its gradient, with cotangents carried by another set of weights."""
    learned, fixed = circuit.leaves.pick(params)

    def loss(learned: Any) -> Any:
        here = circuit.leaves.build(learned, fixed)
        run = circuit.run(here, args, sites=(), **feedback)
        return run.loss, run.aux

    (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(learned)
    return Credit(value, aux, circuit.leaves.build(grads), state, ())


def draw_leaves(
    circuit: Circuit, key: jax.Array, params: Any, leaves: tuple[int, ...], draw: Draw
) -> Any:
    """A tree of random numbers at the given leaves, and None elsewhere."""
    learned, fans = circuit.leaves.pick(params)[0], fan_ins(circuit)
    sizes = [jnp.size(learned[i]) for i in leaves]
    # All at once: a generator is compiled anew for every shape.
    numbers = jnp.split(draw.law(key, (sum(sizes),)), list(accumulate(sizes))[:-1])
    drawn: list[Any] = [None] * len(learned)
    for i, flat in zip(leaves, numbers, strict=True):
        shaped = flat.reshape(jnp.shape(learned[i])).astype(learned[i].dtype)
        drawn[i] = draw.make(shaped, learned[i], fans.get(i, 1))
    return circuit.leaves.build(drawn)


def fan_ins(circuit: Circuit) -> dict[int, int]:
    """For each leaf, how many inputs one output sums at its (last) synapse."""
    return {i: s.fan_in for s in circuit.synapses for i in s.leaves}


def _sized_as(numbers: jax.Array, leaf: jax.Array, fan_in: int) -> jax.Array:
    size = jnp.sqrt(jnp.mean(jnp.square(jnp.abs(leaf))))
    return numbers * jnp.where(size > 0, size, fan_in**-0.5).astype(leaf.dtype)


# Normal numbers of the leaf's own root mean square (1/sqrt(fan in) where that is 0).
like_forward = Draw(jax.random.normal, _sized_as)


def kept(fraction_removed: Any) -> Draw:
    """Masks of ones with the given fraction of zeros."""

    def make(numbers: jax.Array, leaf: jax.Array, fan_in: int) -> jax.Array:
        del fan_in
        return (numbers >= fraction_removed).astype(leaf.dtype)

    return Draw(jax.random.uniform, make)


def masked(circuit: Circuit, tree: Any, mask: Any) -> Any:
    """The learned leaves of a tree times a mask, where there is one."""
    if mask is None:
        return circuit.learned(tree)
    values, masks = circuit.leaves.pick(tree)[0], circuit.leaves.pick(mask)[0]
    pairs = zip(values, masks, strict=True)
    return circuit.leaves.build(
        [v if m is None or v is None else v * m for v, m in pairs]
    )


def sparse(circuit: Circuit, params: Any, mask: Any) -> Any:
    """The parameters without the connections that a mask removes."""
    return circuit.merged(params, masked(circuit, params, mask))


def require_direct(
    circuit: Circuit, what: str, fix: str = "Use the rule's default, or make"
) -> None:
    """Refuse where an effective weight is computed from several leaves."""
    for synapse in circuit.synapses:
        if synapse.weight is not None and not synapse.direct:
            raise ValueError(
                f"{what} is defined entry by entry of a weight, but the effective "
                f"weight at {synapse.where} is computed from {synapse.name!r}. "
                f"{fix} that weight one parameter."
            )


def require_different(circuit: Circuit, params: Any, feedback: Any) -> None:
    """Refuse feedback that is the forward weights (drawn from the same key, say)."""
    pairs = zip(
        circuit.leaves.names,
        circuit.leaves.pick(params)[0],
        circuit.leaves.pick(feedback)[0],
        strict=True,
    )
    for path, leaf, copy in pairs:
        if copy is None or not is_concrete((leaf, copy)) or not np.any(leaf):
            continue
        if np.array_equal(leaf, copy):
            raise ValueError(
                f"The feedback weights of {path!r} equal the forward weights, so this "
                "would be backpropagation. Draw them from another key."
            )
