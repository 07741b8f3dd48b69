"""Loss of a readout whose first spike is the answer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def first_spike_loss(
    times: ArrayLike,
    label: ArrayLike,
    *,
    tau: ArrayLike,
    early: ArrayLike = 0.0,
    early_tau: ArrayLike = 1.0,
    silent: ArrayLike = 0.0,
) -> jax.Array:
    """The cross-entropy of first spikes, plus a price for a late one.

        -log softmax(-t / tau)[label] + early (exp(t_label / early_tau) - 1)

    A neuron without a spike has probability 0. If the neuron of the label has none, the
    loss of the example is `silent`, without a gradient: the cross-entropy would only
    delay all other neurons, until they are silent too. To bring such a neuron back, add
    a loss of its `subthreshold_peak`.

    Args:
      times: [classes] or [classes, spikes], the spike times of the readout; inf where
        there is none.
      label: the index of the right class.
      tau: the time that makes a difference of one nat.
      early: the weight of the price.
      early_tau: its time constant.
      silent: the loss where the neuron of the label has no spike.

    Returns:
      The loss of one example; use `jax.vmap` for several.

    Raises:
      TypeError: if `label` is no integer.
      ValueError: if `times` has not one or two axes, or `label` is not one index.

    Example:
      >>> import jax.numpy as jnp
      >>> from apical import spiking
      >>> times = jnp.array([3.0, 5.0, jnp.inf])
      >>> loss = spiking.first_spike_loss(times, 0, tau=1.0)
      >>> bool(jnp.allclose(loss, jnp.log(1 + jnp.exp(-2.0))))
      True

    Source: Wunderlich & Pehl 2021, Scientific Reports 11:12829; Göltz et al. 2021,
    Nature Machine Intelligence 3:823.
    """
    times = jnp.asarray(times)
    if times.ndim not in (1, 2):
        raise ValueError(
            "`times` must have the shape [classes] or [classes, spikes], it has "
            f"{list(times.shape)}."
        )
    label = jnp.asarray(label)
    if not jnp.issubdtype(label.dtype, jnp.integer):
        raise TypeError(f"`label` must be an integer, it is {label.dtype}.")
    if label.ndim:
        raise ValueError(
            f"`label` must be one index, its shape is {list(label.shape)}. Use "
            "`jax.vmap` for examples."
        )
    first = times if times.ndim == 1 else jnp.min(times, axis=1)
    spikes = first < jnp.inf
    right = (jnp.arange(len(first)) == label) & spikes
    there = jnp.any(right)
    safe = jnp.where(spikes, first, 0.0)
    mine = jnp.sum(jnp.where(right, safe, 0.0))
    # Times relative to the label's: no time is large, and the label's term is 1.
    relative = jnp.where(spikes & there, (mine - safe) / tau, -jnp.inf)
    # The label itself stands in the sum, so that it is never empty.
    others = jnp.where(right | ~there, 0.0, relative)
    loss = jax.nn.logsumexp(others, where=spikes | ~there)
    # Without a price, a late spike must not overflow.
    late = jnp.where(jnp.asarray(early) == 0, 0.0, mine / early_tau)
    loss = loss + early * jnp.expm1(late)
    # NaN says that values had no meaning; it is passed on.
    broken = jnp.any(jnp.isnan(first))
    return jnp.where(broken, jnp.nan, jnp.where(there, loss, silent))
