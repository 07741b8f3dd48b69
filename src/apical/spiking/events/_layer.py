"""A layer of LIF neurons: checked arrays, its inputs, its potential without spikes."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ._potential import response
from ._simulation import Arrivals, Neurons, arrivals


class Layer(NamedTuple):
    """A layer and its inputs.

    Attributes:
      weights: [inputs, n].
      times: [inputs, spikes]; inf where there is none.
      delays: [inputs or 1, n or 1].
      cell: the constants of the neurons.
      until: when the simulation ends.
    """

    weights: jax.Array
    times: jax.Array
    delays: jax.Array
    cell: Neurons
    until: jax.Array


class Loop(NamedTuple):
    """The connections among the neurons of a layer.

    Attributes:
      weights: [n, n], from row to column.
      delays: [n or 1, n or 1].
    """

    weights: jax.Array
    delays: jax.Array


def layer_of(
    weights: ArrayLike,
    input_times: ArrayLike,
    delays: ArrayLike,
    constants: tuple[ArrayLike, ArrayLike, ArrayLike],
    until: ArrayLike,
) -> Layer:
    """The layer, with all arrays of one type of at least 32 bits."""
    given = (weights, input_times, delays, *constants, until)
    dtype = _float_type(given)
    w, times, lags, tau_m, tau_s, threshold, end = (
        jnp.asarray(x, dtype) for x in given
    )
    if w.ndim != 2:
        raise ValueError(
            f"`weights` must have the shape [inputs, n], they have {list(w.shape)}."
        )
    if times.ndim == 1:
        times = times[:, None]
    if times.ndim != 2 or len(times) != len(w):
        raise ValueError(
            f"`input_times` must have the shape [{len(w)}] or [{len(w)}, spikes], as "
            f"`weights` has {len(w)} rows; it has {list(jnp.shape(input_times))}. Use "
            "`jax.vmap` for examples."
        )
    named = {"tau_m": tau_m, "tau_s": tau_s, "threshold": threshold, "until": end}
    for name, value in named.items():
        if value.ndim:
            raise ValueError(
                f"`{name}` must be one number for all neurons, its shape is "
                f"{list(value.shape)}."
            )
    lags = _delays(lags, w, "delays", "weights")
    return Layer(w, times, lags, Neurons(tau_m, tau_s, threshold), end)


def loop_of(
    layer: Layer, recurrent: ArrayLike | None, delays: ArrayLike
) -> Loop | None:
    """The connections among the neurons of a layer; None if there are none."""
    if recurrent is None:
        return None
    _float_type((recurrent, delays))
    w = jnp.asarray(recurrent, layer.weights.dtype)
    n = layer.weights.shape[1]
    if w.shape != (n, n):
        raise ValueError(
            f"`recurrent` must have the shape [{n}, {n}], as `weights` has {n} "
            f"columns; it has {list(w.shape)}."
        )
    lags = jnp.asarray(delays, w.dtype)
    return Loop(w, _delays(lags, w, "recurrent_delays", "recurrent"))


def _float_type(given: tuple[ArrayLike, ...]) -> jnp.dtype:
    dtype = jnp.result_type(*given, jnp.float32)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"Times and weights must be real numbers, one is {dtype}.")
    return dtype


def _delays(lags: jax.Array, w: jax.Array, name: str, of: str) -> jax.Array:
    lags = lags.reshape((1,) * (2 - lags.ndim) + lags.shape)
    fits = lags.ndim == 2 and all(
        size in (1, full) for size, full in zip(lags.shape, w.shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"`{name}` must broadcast to the shape {list(w.shape)} of `{of}`, it has "
            f"{list(lags.shape)}."
        )
    return lags


def arrival_times(layer: Layer) -> jax.Array:
    """When each input arrives: [inputs, spikes, n or 1]."""
    return layer.times[:, :, None] + layer.delays[:, None]


def sorted_arrivals(layer: Layer) -> Arrivals:
    """The inputs in the order in which they arrive."""
    times = arrival_times(layer)
    weights = jnp.repeat(layer.weights, layer.times.shape[1], axis=0)
    return arrivals(times.reshape(-1, times.shape[-1]), weights, layer.until)


def drive_at(layer: Layer, at: jax.Array) -> jax.Array:
    """The potential at the times `at` [n, k] that inputs cause, without any spike."""
    arrive = jnp.moveaxis(arrival_times(layer), -1, 0)[:, None]
    comes = arrive < jnp.inf
    lag = at[:, :, None, None] - jnp.where(comes, arrive, 0.0)
    lag = jnp.where(comes, lag, 0.0)  # [n, k, inputs, spikes]
    arrived = jnp.sum(response(lag, layer.cell.tau_m, layer.cell.tau_s), -1)
    return jnp.einsum("jki,ij->jk", arrived, layer.weights)


def wrong_values(layer: Layer, loop: Loop | None) -> dict[str, jax.Array]:
    """By message: whether values have no meaning."""
    return dict(zip(_messages(), _wrong(layer, loop), strict=True))


def _messages() -> list[str]:
    lags = "must be finite and not negative."
    return [
        "`weights` must be finite.",
        "`input_times` must not be NaN or -inf; inf means no spike.",
        f"`delays` {lags}",
        "`until` must not be NaN.",
        *(f"`{name}` must be finite and positive." for name in Neurons._fields),
        "`recurrent` must be finite.",
        f"`recurrent_delays` {lags}",
    ]


@jax.jit
def _wrong(layer: Layer, loop: Loop | None) -> list[jax.Array]:
    weights, delays = loop or (jnp.zeros(()), jnp.zeros(()))
    return [
        ~_all_finite(layer.weights),
        ~jnp.all(layer.times > -jnp.inf),
        ~_are_delays(layer.delays),
        jnp.isnan(layer.until),
        *(~((value > 0) & jnp.isfinite(value)) for value in layer.cell),
        ~_all_finite(weights),
        ~_are_delays(delays),
    ]


def _all_finite(x: jax.Array) -> jax.Array:
    return jnp.all(jnp.isfinite(x))


def _are_delays(x: jax.Array) -> jax.Array:
    return jnp.all((x >= 0) & jnp.isfinite(x))


def refuse(result: jax.Array, wrong: dict[str, jax.Array]) -> jax.Array:
    """Raise if something is wrong; NaN instead of the result where that is unknown."""
    for message, found in wrong.items():
        try:
            is_wrong = bool(found)
        except jax.errors.ConcretizationTypeError:
            break  # under jit or vmap
        if is_wrong:
            raise ValueError(message)
    anything = jnp.any(jnp.stack(list(wrong.values())))
    return jnp.where(anything, jnp.nan, result)
