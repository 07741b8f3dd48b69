"""Weight space: slopes of the loss along random directions of all parameters.

    g = mean_k (slope of L along v_k) v_k,      v_k of unit variance,

so that E g = E[v v^T] dL/dtheta = dL/dtheta, and for normal v with N parameters
E|g - dL/dtheta|^2 = (N + 1)/K |dL/dtheta|^2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ...circuit import Circuit
from .._base import Credit, Rule
from .._numerics import fold_in_name
from ._random_directions import correlation, draw, require_precise, require_real


class AntitheticRule(Rule):
    """A rule that compares the losses at theta + sigma v and theta - sigma v.

        g = mean_k [F(theta + sigma v_k) - F(theta - sigma v_k)] v_k / (2 sigma)

    A subclass may choose the kind of the directions v, and F as a function of the
    losses.
    """

    noise: Any
    pairs: int
    derivative_free: ClassVar[bool] = True

    @property
    def directions(self) -> str:
        """The kind of directions, one of `KINDS`."""
        return "normal"

    def fitness_of(self, losses: jax.Array) -> jax.Array:
        """F, given the losses: both `[pairs, 2]`."""
        return losses

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """A key, with the rule's name folded in."""
        del args
        name, types = type(self).__name__, leaf_types(circuit, params)
        require_real(types, name)
        require_precise(types, name)
        return fold_in_name(key, f"apical.{name}")

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Two losses for each pair, all in one mapped call."""
        now, later = jax.random.split(state)
        run = circuit.run(params, args, sites=())
        learned, loss = loss_of(circuit, params, args)
        directions = draw(now, learned, self.pairs, self.directions)
        losses = both_sides(circuit, loss, learned, directions, self.noise)
        scores = self.fitness_of(losses)
        slopes = (scores[:, 0] - scores[:, 1]) / (2 * self.noise)
        grads = circuit.leaves.combine(mean_of_slopes(slopes, directions))
        return Credit(run.loss, run.aux, grads, later, correlation(slopes))


Leaves = list[jax.Array]
Loss = Callable[[Leaves], jax.Array]


def loss_of(circuit: Circuit, params: Any, args: Any) -> tuple[Leaves, Loss]:
    """The learned leaves, and the loss as a function of them."""
    learned, fixed = circuit.leaves.split(params)

    def loss(learned: Leaves) -> jax.Array:
        here = circuit.leaves.combine(learned, fixed)
        return circuit.run(here, args, sites=()).loss

    return [jnp.asarray(leaf) for leaf in learned], loss


def leaf_types(circuit: Circuit, params: Any) -> list[tuple[str, Any]]:
    """Each learned leaf, as named in error messages, with its dtype."""
    pairs = zip(circuit.leaves.names, circuit.leaves.split(params)[0], strict=True)
    return [(f"parameter {path!r}", leaf.dtype) for path, leaf in pairs]


def both_sides(
    circuit: Circuit, loss: Loss, at: Leaves, directions: Leaves, size: Any
) -> jax.Array:
    """The losses at `at + size v` and `at - size v` for each direction: `[K, 2]`."""

    def moved(direction: Leaves, step: Any) -> jax.Array:
        pairs = zip(at, direction, strict=True)
        return loss([x + (step * v).astype(x.dtype) for x, v in pairs])

    def pair(direction: Leaves) -> jax.Array:
        return jnp.stack([moved(direction, size), moved(direction, -size)])

    return map_over_draws(circuit)(pair)(directions)


def map_over_draws(circuit: Circuit) -> Callable[..., Any]:
    """The transformation that maps a function over many draws of the weights.

    It is `jax.vmap`, except on a CPU, where XLA multiplies by a batch of matrices three
    times slower than by each in turn (16 pairs of an MLP: 89 ms by `jax.vmap`, 27 ms by
    `jax.lax.map`). Convolutions are slower still in a loop, and use `jax.vmap`.
    """
    if jax.default_backend() == "cpu" and not circuit.structure.has_convolution:
        return lambda function: partial(jax.lax.map, function)
    return jax.vmap


def mean_of_slopes(slopes: jax.Array, directions: Leaves) -> Leaves:
    """The mean over the draws of each slope times its direction."""
    share = slopes / slopes.shape[0]
    return [jnp.tensordot(share.astype(v.dtype), v, axes=1) for v in directions]
