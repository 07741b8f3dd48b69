"""A scan with a derivative that is found chunk by chunk, forwards in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ..._evaluate._automatic_axes import automatic
from ..._evaluate._manual_axes import (
    all_varying,
    axes_of,
    cotangents_apart,
    cotangents_joined,
)
from ..._evaluate._manual_axes import scan as scan_of_types
from .._steps._cotangents import given_cotangent, zero_cotangent
from .._steps._weight_values import Fixed, plain_scan
from ._unit_loop import UnitLoop


def chunked_scan(
    loop: UnitLoop,
    fixed: Fixed,
    carry: Sequence[Any],
    xs: Sequence[Any],
    traces: Any,
    constants: Any,
    *,
    pull: Callable[..., Any],
    after: Callable[..., Any],
) -> tuple[list[Any], list[Any], Any]:
    """Run a loop of units.

    Args:
      loop: the loop.
      fixed: what is the same at every step.
      carry: the first carry.
      xs: the inputs, stacked, and the values injected at sites.
      traces: the traces that the carry comes with; None at the start of a sequence.
      constants: further numbers of the rule, which have no derivative.
      pull: `pull((fixed, carry, xs, traces, constants), ys, last)` returns, for the
        cotangents of the outputs and of the last carry, those of the weights, of the
        active carries, and of the inputs in the order of the steps, by position.
      after: `after(fixed, carry, xs, traces, constants)` returns the traces after the
        last step.

    Returns:
      The last carry, the outputs and the values at sites, and the traces after it if
      traces were given.
    """

    @jax.custom_vjp
    def scan(*args: Any) -> Any:
        return primal(*args)

    def primal(*args: Any) -> Any:
        fixed, carry, xs, traces, _ = args
        last, ys = _plain(loop, fixed, carry, xs)
        if traces is not None and loop.active:
            traces = jax.lax.stop_gradient(after(*args))
        return last, ys, traces

    def forward(*args: Any) -> Any:
        return primal(*args), args

    def backward(args: Any, cotangents: Any) -> Any:
        axes = axes_of((args, cotangents))
        last, ys, _ = cotangents_apart(cotangents, axes)
        last, ys = ([given_cotangent(x) for x in each] for each in (last, ys))
        weights, start, moved = pull(all_varying(args, axes), ys, last)
        fixed, carry, xs, *rest = jax.tree.map(zero_cotangent, args)
        moved = {i: x[::-1] if loop.reverse else x for i, x in moved.items()}
        first = [
            start[i].astype(c.dtype) if i in start else z
            for i, (z, c) in enumerate(zip(carry, args[1], strict=True))
        ]
        found = (
            fixed._replace(weights=weights),
            first,
            [moved.get(i, z) for i, z in enumerate(xs)],
            *rest,
        )
        return cotangents_joined(found, args)

    def shapes(fixed: Any, carry: Any, xs: Any, traces: Any, _: Any) -> Any:
        plain = jax.eval_shape(partial(_plain, loop), fixed, carry, xs)
        return *plain, traces

    scan.defvjp(forward, backward)
    if loop.length == 0:
        return *_plain(loop, fixed, carry, xs), traces
    given = fixed, list(carry), list(xs), traces, constants
    return automatic(scan, shapes)(*given)


def _plain(loop: UnitLoop, fixed: Fixed, carry: Any, xs: Any) -> tuple[Any, Any]:
    """The loop as it is written."""
    return plain_scan(
        loop.step,
        fixed,
        carry,
        xs,
        loop.length,
        reverse=loop.reverse,
        unroll=loop.unroll,
        taps=loop.taps,
    )


def divided(loop: UnitLoop, chunk: int) -> tuple[int, int]:
    """The number of whole chunks, and of the steps that remain: at least one."""
    count = (loop.length - 1) // chunk
    return count, loop.length - count * chunk


def cut(loop: UnitLoop, stacked: Any, start: Any, length: int) -> Any:
    """Some steps of stacked arrays, in the order of the steps.

    Cut where they are used: a copy of all chunks would grow with the sequence.
    """
    at = loop.length - start - length if loop.reverse else start

    def part(x: Any) -> Any:
        found = jax.lax.dynamic_slice_in_dim(x, at, length)
        return found[::-1] if loop.reverse else found

    return jax.tree.map(part, stacked)


def along_chunks(
    loop: UnitLoop, chunk: int, state: Any, step: Callable[..., Any]
) -> tuple[Any, Any]:
    """Take the chunks from the first to the last.

    Args:
      loop: the loop.
      chunk: the number of steps in a chunk.
      state: the first state.
      step: `step(state, start, length, final)` takes the steps of a chunk, and returns
        the next state and something stacked over these steps.

    Returns:
      The last state, and what the chunks returned, stacked over all steps.
    """
    count, rest = divided(loop, chunk)
    state, found = scan_of_types(
        lambda state, start: step(state, start, chunk, False),
        state,
        chunk * jnp.arange(count),
    )
    state, ended = step(state, count * chunk, rest, True)

    def joined(x: Any, end: Any) -> Any:
        return jnp.concatenate([x.reshape(-1, *x.shape[2:]), end])

    return state, jax.tree.map(joined, found, ended)
