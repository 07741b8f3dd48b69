"""One update of a training, with the contribution of each example to predictions.

    y(x; w + u) - y(x; w) = integral from 0 to 1 of <dy/dw(x; w + t u), u> dt
    u = sum_i u_i,   u_i = the optimiser's update for the share of example i

The integral is taken by Gauss-Legendre quadrature, which with n points is exact for
polynomials in t up to degree 2 n - 1; so the sum over the examples is the change of the
prediction in a step of finite size too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...rules._base import TrainState
from ...rules._inner_optimizers import updates_of
from ...rules._learner import Learner
from ...rules._numerics import squared_norm
from ...rules._train_step import Trainer
from ._example_updates import (
    example_gradient,
    loss_slope,
    select_examples,
    unit_gradients,
)

Leaves = list[jax.Array]


class Sums(NamedTuple):
    """What is summed over the updates.

    Attributes:
      change: `[predictions, examples]`.
      kernel: `[predictions, examples, outputs]`, by single outputs; no outputs where
        those are not evaluated.
      ratio: `[predictions, examples, outputs]`, by division by L'_i; no outputs where
        the network has several.
      slope: `[examples, outputs]`, L'_i.
      smallest: `[examples]`, the smallest |L'_i| so far.
      largest: the largest |L'_i| of any example so far.
      updates: `[examples]`, the number of updates that each took part in.
    """

    change: jax.Array
    kernel: jax.Array
    ratio: jax.Array
    slope: jax.Array
    smallest: jax.Array
    largest: jax.Array
    updates: jax.Array


def zeros(initial: jax.Array, examples: int, outputs: int, units: bool) -> Sums:
    """The sums before the first update."""
    count, dtype = initial.size, initial.dtype
    by_units, by_ratio = outputs if units else 0, outputs == 1
    return Sums(
        jnp.zeros((count, examples), dtype),
        jnp.zeros((count, examples, by_units), dtype),
        jnp.zeros((count, examples, int(by_ratio)), dtype),
        jnp.zeros((examples, outputs), dtype),
        jnp.full((examples,), jnp.inf, dtype),
        jnp.zeros((), dtype),
        jnp.zeros((examples,), int),
    )


class Report(NamedTuple):
    """The loss before an update, and how far two equations were missed.

    Attributes:
      loss: the loss of the batch.
      sum_missed: |sum_i u_i - u| / |u|.
      unit_missed: the largest |G_i - sum_c L'_ic M_ic| of an example over the largest
        |G_i|; 0 where single outputs are not evaluated.
    """

    loss: jax.Array
    sum_missed: jax.Array
    unit_missed: jax.Array


@dataclass(frozen=True)
class Step:
    """One update, and what the examples of its batch contributed.

    Attributes:
      trainer: the learner and the optimiser.
      units: the learner of single outputs (`unit_learner`); None where they are not
        evaluated.
      predict: a function of the parameters, which returns an array.
      outputs: the number of outputs of an example; 0 without a kernel.
      points: the number of points of the quadrature.
      chunk_size: the number of examples at once.
    """

    trainer: Trainer
    units: Learner | None
    predict: Callable[[Any], jax.Array]
    outputs: int
    points: int
    chunk_size: int

    def __call__(
        self,
        params: Any,
        args: tuple[Any, ...],
        state: TrainState,
        sums: Sums,
        indices: jax.Array,
    ) -> tuple[Any, TrainState, Sums, Report]:
        """Train on the examples of these indices, and add up what they contribute."""
        learner = self.trainer.learner
        whole = learner.circuit(params, *args)
        batch = select_examples(whole, args, indices)
        circuit = learner.circuit(params, *batch)
        moved, after, credit = self.trainer(params, state, *batch)
        start, fixed = circuit.leaves.split(params)
        end = circuit.leaves.split(moved)[0]
        step = [b - a for a, b in zip(start, end, strict=True)]
        learned, rule_state = circuit.learned(params), state.rule

        def update(grads: Leaves) -> Leaves:
            tree, memory = circuit.leaves.combine(grads), state.optimizer
            made = updates_of(
                self.trainer.optimizer, tree, memory, learned, credit.value
            )[0]
            pairs = zip(circuit.leaves.split(made)[0], start, strict=True)
            return [new.astype(x.dtype) for new, x in pairs]

        def gained(direction: Leaves) -> jax.Array:
            def predictions(leaves: Leaves) -> jax.Array:
                here = circuit.leaves.combine(leaves, fixed)
                return self.predict(here).reshape(-1)

            return _integral(predictions, start, step, direction, self.points)

        def one(index: jax.Array) -> _Example:
            alone = select_examples(whole, args, index[None])
            given = params, rule_state, alone
            grads = example_gradient(learner, *given)
            ours = update([g / circuit.scale for g in grads])
            found = _Example(ours, gained(ours))
            if not self.outputs:
                return found
            slope = loss_slope(learner.circuit(params, *alone), params, alone)
            share = slope / circuit.scale
            found = found._replace(slope=slope)
            if self.outputs == 1:
                ratio = -found.change[:, None] / jnp.where(share == 0, 1, share)
                found = found._replace(ratio=ratio)
            if self.units is None:
                return found
            units = jnp.eye(self.outputs, dtype=slope.dtype)
            parts = jax.vmap(update)(unit_gradients(self.units, *given, units))
            joined = [jnp.tensordot(share, p, 1).astype(p.dtype) for p in parts]
            off = _norm([a - b for a, b in zip(joined, ours, strict=True)])
            kernel = -jax.vmap(gained, out_axes=1)(parts)
            return found._replace(kernel=kernel, off=off, size=_norm(ours))

        total, each = _in_chunks(one, indices, self.chunk_size)
        missed = _missed(total, step, start), _units_missed(each)
        return moved, after, _added(sums, indices, each), Report(credit.value, *missed)


class _Example(NamedTuple):
    """What one example asked for and contributed; None where that is not found."""

    update: Leaves | None
    change: jax.Array
    kernel: jax.Array | None = None
    ratio: jax.Array | None = None
    slope: jax.Array | None = None
    off: jax.Array | None = None
    size: jax.Array | None = None


def _integral(
    predictions: Callable[[Leaves], jax.Array],
    start: Leaves,
    step: Leaves,
    direction: Leaves,
    points: int,
) -> jax.Array:
    """The integral of <dy/dw(start + t step), direction> over t from 0 to 1."""
    places, weights = np.polynomial.legendre.leggauss(points)

    def slope(t: jax.Array) -> jax.Array:
        here = [(a + t * d).astype(a.dtype) for a, d in zip(start, step, strict=True)]
        return _derivative(predictions, here, direction)

    slopes = jax.vmap(slope)(jnp.asarray((places + 1) / 2))
    return jnp.tensordot(jnp.asarray(weights / 2, slopes.dtype), slopes, 1)


def _derivative(
    predictions: Callable[[Leaves], jax.Array], here: Leaves, direction: Leaves
) -> jax.Array:
    """<dy/dw, direction>; where there is no forward mode, the transpose of reverse."""
    try:
        return jax.jvp(predictions, (here,), (direction,))[1]
    except TypeError:  # a `jax.custom_vjp`; other errors are raised again below
        value, pull = jax.vjp(predictions, here)
        return jax.linear_transpose(lambda y: pull(y)[0], value)(direction)[0]


def _in_chunks(
    one: Callable[[jax.Array], _Example], indices: jax.Array, size: int
) -> tuple[Leaves, _Example]:
    """The sum of the updates of all examples, and the rest for each of them."""
    count = len(indices)
    size = min(size, count)
    padded = jnp.pad(indices, (0, -count % size))
    given = (jnp.arange(len(padded)) < count).reshape(-1, size)

    def chunk(total: Any, rows: Any) -> tuple[Any, _Example]:
        each = jax.vmap(one)(rows[0])
        kept = [jnp.tensordot(rows[1].astype(u.dtype), u, 1) for u in each.update or ()]
        total = [a + b for a, b in zip(total, kept, strict=True)]
        return total, each._replace(update=None)

    shapes = jax.eval_shape(one, indices[0]).update
    zeros = [jnp.zeros(s.shape, s.dtype) for s in shapes]
    total, each = jax.lax.scan(chunk, zeros, (padded.reshape(-1, size), given))
    rows = (len(padded),)
    return total, jax.tree.map(lambda x: x.reshape(*rows, *x.shape[2:])[:count], each)


def _missed(found: Leaves, wanted: Leaves, start: Leaves) -> jax.Array:
    """|found - wanted| / |wanted|, less the rounding of the sum of start and wanted."""
    off = _norm([a - b for a, b in zip(found, wanted, strict=True)])
    rounding = _norm([jnp.finfo(x.dtype).eps * x for x in start])
    return _over(jnp.maximum(off - rounding, 0), _norm(wanted))


def _units_missed(each: _Example) -> jax.Array:
    if each.off is None or each.size is None:
        return jnp.zeros(())
    return _over(jnp.max(each.off), jnp.max(each.size))


def _over(off: jax.Array, size: jax.Array) -> jax.Array:
    return jnp.where(off == 0, 0, off / jnp.where(size == 0, 1, size))


def _norm(leaves: Leaves) -> jax.Array:
    return jnp.sqrt(squared_norm(leaves))


def _added(sums: Sums, indices: jax.Array, each: _Example) -> Sums:
    added = sums._replace(
        change=sums.change.at[:, indices].add(each.change.T),
        updates=sums.updates.at[indices].add(1),
    )
    if each.kernel is not None:
        kernel = jnp.swapaxes(each.kernel, 0, 1)
        added = added._replace(kernel=sums.kernel.at[:, indices].add(kernel))
    if each.ratio is not None:
        ratio = jnp.swapaxes(each.ratio, 0, 1)
        added = added._replace(ratio=sums.ratio.at[:, indices].add(ratio))
    if each.slope is not None:
        size = jnp.max(jnp.abs(each.slope), axis=1)
        added = added._replace(
            slope=sums.slope.at[indices].add(each.slope),
            smallest=sums.smallest.at[indices].min(size),
            largest=jnp.maximum(sums.largest, jnp.max(size)),
        )
    return added
