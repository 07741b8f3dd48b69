"""Hebbian updates of one synapse, from its input and its output alone.

    kind        dw of unit k, summed over places            y = x W
    oja         y_k x - y_k^2 w_k
    subspace    y_k x - y_k sum_j y_j w_j
    sanger      y_k x - y_k sum_{j <= k} y_j w_j
    bcm         y_k (y_k - theta_k) x                       theta_k a mean of y_k^2
    soft        p_k x - p_k y_k w_k                         p = softmax(y / temperature)

A place is an example, a step, or a position of a convolution. Units see one another
where they read the same input: the heads of a layer with weights for each head, and the
groups of a grouped convolution, are layers of their own.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import SynapseActivity, automatic, mean_over_devices, scan

KINDS = ("oja", "sanger", "subspace", "bcm", "soft")


class SlidingThreshold(NamedTuple):
    """The threshold of each unit, a running mean of its squared output.

    Attributes:
      total: the weighted sum of squared outputs, of each unit.
      weight: the sum of the weights; 0 before the first call.
    """

    total: jax.Array
    weight: jax.Array


def in_groups(synapse: SynapseActivity) -> jax.Array:
    """The output by groups of units, `[steps, places, groups, units]`.

    The units of a group read the same input.
    """
    by_unit = synapse.by_unit(synapse.post)
    order = _order(synapse)
    moved = jnp.transpose(by_unit, (0, 1, *(2 + i for i in order)))
    return moved.reshape(*moved.shape[:2], _count(synapse), -1)


def first_threshold(synapse: SynapseActivity) -> SlidingThreshold:
    """The threshold before the first step."""

    def begun(synapse: SynapseActivity) -> SlidingThreshold:
        outputs = in_groups(synapse)
        total = jnp.zeros_like(outputs[0, 0]).reshape(-1)
        return SlidingThreshold(total, jnp.zeros((), outputs.dtype))

    whole = jnp.zeros(())  # on every device
    return _automatic(begun, synapse, lambda _: SlidingThreshold(whole, whole))


def hebbian_update(
    kind: str,
    synapse: SynapseActivity,
    *,
    threshold: SlidingThreshold | None = None,
    threshold_rate: Any = 0.1,
    temperature: Any = 1.0,
) -> tuple[jax.Array, SlidingThreshold | None]:
    """The change of a weight summed over places, and the threshold after them.

    Args:
      kind: one of `KINDS`.
      synapse: with `post` its own output.
      threshold: of `"bcm"`, before the first step.
      threshold_rate: of `"bcm"`: how fast it follows.
      temperature: of `"soft"`.
    """

    def update(synapse: SynapseActivity, threshold: Any, *numbers: Any) -> Any:
        return _update(kind, synapse, threshold, *numbers)

    given = threshold, threshold_rate, temperature
    return _automatic(update, synapse, lambda w, start, *_: (w, start), *given)


def _automatic(function: Any, synapse: SynapseActivity, like: Any, *args: Any) -> Any:
    """A function of a synapse, which contracts and reshapes axes of places and units.

    `like(weight, *args)` has the structure and the explicit shardings of its result.
    """

    def run(pre: jax.Array, post: jax.Array, weight: jax.Array, *args: Any) -> Any:
        return function(replace(synapse, pre=pre, post=post, weight=weight), *args)

    found = automatic(run, lambda pre, post, *rest: like(*rest))
    return found(synapse.pre, synapse.post, synapse.weight, *args)


def _update(
    kind: str,
    synapse: SynapseActivity,
    threshold: SlidingThreshold | None,
    threshold_rate: Any,
    temperature: Any,
) -> tuple[jax.Array, SlidingThreshold | None]:
    y = in_groups(synapse)
    if kind == "bcm":
        assert threshold is not None
        heights, threshold = _thresholds(y, threshold, threshold_rate)
        heights = heights.reshape(len(y), 1, *y.shape[2:])
        return _product(synapse, y * (y - heights)), threshold
    if kind == "soft":
        share = jax.nn.softmax(y / temperature, axis=-1)
        kept = jnp.einsum("tqgk,tqgk->gk", share, y)
        return _product(synapse, share) - _scaled(synapse, kept), threshold
    if kind == "oja":
        kept = jnp.einsum("tqgk,tqgk->gk", y, y)
        return _product(synapse, y) - _scaled(synapse, kept), threshold
    together = jnp.einsum("tqgk,tqgj->gkj", y, y)
    if kind == "sanger":
        together = jnp.tril(together)
    return _product(synapse, y) - _mixed(synapse, together), threshold


def _thresholds(
    y: jax.Array, start: SlidingThreshold, rate: Any
) -> tuple[jax.Array, SlidingThreshold]:
    """The threshold in each step, with the outputs of that step; and the last one."""

    def step(last: SlidingThreshold, now: jax.Array) -> Any:
        total = last.total + rate * (now - last.total)
        weight = last.weight + rate * (1 - last.weight)
        after = SlidingThreshold(
            total.astype(last.total.dtype), weight.astype(last.weight.dtype)
        )
        return after, after.total / after.weight

    squares = mean_over_devices(jnp.mean(y**2, axis=1))
    end, heights = scan(step, start, squares.reshape(len(squares), -1))
    return heights, end


# ---- Arrangements: units in groups, in the axes of the output and of the weight.


def _order(synapse: SynapseActivity) -> list[int]:
    """The axes of units, those along which inputs differ first."""
    axes = synapse.unit_axes
    apart = [i for i, a in enumerate(axes) if a in synapse.separate_axes]
    return [*apart, *(i for i in range(len(axes)) if i not in apart)]


def _count(synapse: SynapseActivity) -> int:
    shape = synapse.weight.shape
    return synapse.groups * math.prod(shape[a] for a in synapse.separate_axes)


def _product(synapse: SynapseActivity, signal: jax.Array) -> jax.Array:
    """The product of the input with a signal of the units in groups."""
    order = _order(synapse)
    sizes = [synapse.weight.shape[synapse.unit_axes[i]] for i in order]
    apart = signal.reshape(*signal.shape[:2], *sizes)
    back = jnp.transpose(
        apart, (0, 1, *(2 + order.index(i) for i in range(len(order))))
    )
    return synapse.product(synapse.pre, synapse.from_units(back))


def _scaled(synapse: SynapseActivity, factors: jax.Array) -> jax.Array:
    """The weights of each unit times a factor, `[groups, units]`."""
    return _through_units(synapse, lambda w: factors[..., None] * w)


def _mixed(synapse: SynapseActivity, factors: jax.Array) -> jax.Array:
    """Sums of the weights of a group's units, with factors `[groups, units, units]`."""
    return _through_units(synapse, lambda w: jnp.einsum("gkj,gjr->gkr", factors, w))


def _through_units(synapse: SynapseActivity, function: Any) -> jax.Array:
    """A function of the weights as `[groups, units, inputs]`, arranged as they are."""
    weight, axes = synapse.weight, [synapse.unit_axes[i] for i in _order(synapse)]
    front = range(len(axes))
    moved = jnp.moveaxis(weight, axes, front)
    inputs = math.prod(moved.shape[len(axes) :])
    found = function(moved.reshape(_count(synapse), -1, inputs))
    return jnp.moveaxis(found.reshape(moved.shape), front, axes).astype(weight.dtype)
