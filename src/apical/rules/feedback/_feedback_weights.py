"""Feedback weights: drawing them, checking them, and the backward pass through them.

    delta_l = (phi_{l+1} delta_{l+1}) * rho'(z_l),      phi in place of theta^T

shared by all rules whose backward pass goes through a second copy phi of the weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import Circuit, is_concrete
from .._base import Credit
from .._random import Law, draw_arrays


class Draw(NamedTuple):
    """How to draw the feedback weights of one leaf.

    Attributes:
      law: draws numbers, as `jax.random.normal(key, shape)`.
      make: `make(numbers, leaf, fan_in)`, for numbers of the leaf's shape and dtype,
        returns the feedback weights.
    """

    law: Law
    make: Callable[[jax.Array, jax.Array, int], jax.Array]


def draw_leaves(
    circuit: Circuit, key: jax.Array, params: Any, leaves: tuple[int, ...], draw: Draw
) -> Any:
    """A tree of random numbers at the given leaves, and None elsewhere."""
    learned, fans = circuit.leaves.split(params)[0], fan_ins(circuit)
    shapes = [jnp.shape(learned[i]) for i in leaves]
    drawn: list[Any] = [None] * len(learned)
    for i, numbers in zip(leaves, draw_arrays(key, shapes, draw.law), strict=True):
        numbers = numbers.astype(learned[i].dtype)
        drawn[i] = draw.make(numbers, learned[i], fans.get(i, 1))
    return circuit.leaves.combine(drawn)


def fan_ins(circuit: Circuit) -> dict[int, int]:
    """The fan-in of each leaf at its (last) synapse."""
    return {i: s.fan_in for s in circuit.synapses for i in s.leaves}


def _scaled_to(numbers: jax.Array, leaf: jax.Array, fan_in: int) -> jax.Array:
    size = jnp.sqrt(jnp.mean(jnp.square(jnp.abs(leaf))))
    return numbers * jnp.where(size > 0, size, fan_in**-0.5).astype(leaf.dtype)


# Normal numbers with the root mean square of the leaf (1/sqrt(fan in) if that is 0).
like_forward = Draw(jax.random.normal, _scaled_to)


def through_feedback(
    circuit: Circuit, params: Any, args: Any, state: Any, **feedback: Any
) -> Credit:
    """The loss and its gradient, with cotangents passed through the feedback weights.

    Args:
      circuit: the circuit of the batch.
      params: the parameters.
      args: the arguments after them.
      state: the `state` of the returned credit.
      **feedback: as `Circuit.run` takes them (`feedback=`, `gains=`, `backward=`).
        With none of them the gradient is that of the loss itself.
    """
    learned, fixed = circuit.leaves.split(params)

    def loss(learned: Any) -> Any:
        here = circuit.leaves.combine(learned, fixed)
        run = circuit.run(here, args, sites=(), **feedback)
        return run.loss, run.aux

    (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(learned)
    return Credit(value, aux, circuit.leaves.combine(grads), state, ())


def replaceable_weights(circuit: Circuit, params: Any) -> Any:
    """The leaves that feedback weights can replace, None elsewhere."""
    reached = circuit.feedback_leaves
    learned = enumerate(circuit.leaves.split(params)[0])
    return circuit.leaves.combine([w if i in reached else None for i, w in learned])


def leaves_with_feedback(feedback: Any, tree: Any) -> Any:
    """The leaves of a tree where there are feedback weights, None elsewhere."""
    return jax.tree.map(
        lambda copy, leaf: None if copy is None else leaf,
        feedback,
        tree,
        is_leaf=lambda copy: copy is None,
    )


def require_direct(
    circuit: Circuit, what: str, fix: str = "Use the rule's default, or make"
) -> None:
    """Raise if an effective weight is computed from several leaves."""
    for synapse in circuit.synapses:
        if synapse.weight is not None and not synapse.direct:
            raise ValueError(
                f"{what} is defined entry by entry of a weight, but the effective "
                f"weight at {synapse.where} is computed from {synapse.name!r}. "
                f"{fix} that weight one parameter."
            )


_NAMED = 3


def warn_of_frozen(circuit: Circuit) -> None:
    """Warn, once, where a signal passes back through a weight that is not learned."""
    found = circuit.structure.frozen
    if not found:
        return
    each_once = list(
        dict.fromkeys(
            f"{each.array} itself, in the `{each.operation}` at {each.where}"
            for each in found
        )
    )
    more, listed = len(each_once) - _NAMED, ", ".join(each_once[:_NAMED])
    warnings.warn(
        f"Signals pass back through {listed}{f', and {more} more' if more > 0 else ''} "
        "(arguments are counted from 0 after `params`): all examples share it, so that "
        "it acts as a weight there, and what is not learned has no feedback weights. "
        "If it is a frozen network, `frozen_feedback=True` gives feedback weights to "
        "it (`FeedbackAlignment`, `SignConcordance`, `KolenPollack`, `WeightMirror`, "
        "`RandomFeedback`); for other rules make it a part of `params` and let "
        "the optimiser freeze it (`optax.multi_transform` with "
        "`optax.set_to_zero`). If it is data, as an adjacency matrix is, this is as it "
        "should be: say `frozen_feedback=False`, or "
        "`warnings.filterwarnings('ignore', 'Signals pass back through')`. "
        "`print(circuit)` lists all of these.",
        UserWarning,
        stacklevel=2,
    )


def require_different(circuit: Circuit, params: Any, feedback: Any) -> None:
    """Raise if feedback weights equal the forward weights (drawn from the same key)."""
    pairs = zip(
        circuit.leaves.names,
        circuit.leaves.split(params)[0],
        circuit.leaves.split(feedback)[0],
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
