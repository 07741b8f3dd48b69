"""Raster plots: a tick for each spike, a row for each neuron."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._axes import current_axes


def raster(spikes: Any, *, dt: float = 1.0, ax: Any = None, **options: Any) -> Any:
    """Draw spikes: time to the right, a row for each neuron.

    Args:
      spikes: of shape `[T, N]`, for one example; or a mapping from names to such arrays
        of the same T, which are drawn above each other, the first at the bottom.
      dt: the length of a step.
      ax: matplotlib axes; None: the current ones of `matplotlib.pyplot`.
      options: of `Axes.vlines`, such as `colors` and `linewidths`.

    Returns:
      The axes.

    Raises:
      ImportError: where matplotlib is not installed (it is in `apical[lab]`).
      ValueError: for arrays of another shape, or with entries that are NaN.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from matplotlib.figure import Figure
      >>> from apical import spiking
      >>> spikes = spiking.poisson(jax.random.key(0), jnp.full(20, 0.1), 100)
      >>> ax = spiking.raster({"input": spikes}, ax=Figure().subplots())
      >>> ax.get_xlabel()
      'time'
    """
    groups = dict(spikes) if isinstance(spikes, Mapping) else {"": spikes}
    arrays = {name: _checked(name, each) for name, each in groups.items()}
    lengths = {name: len(each) for name, each in arrays.items()}
    if not arrays:
        raise ValueError("`spikes` must have at least one group.")
    if len(set(lengths.values())) != 1:
        raise ValueError(f"`spikes` must have one number of steps, not {lengths}.")
    axes = current_axes("apical.spiking.raster") if ax is None else ax
    first, middles = 0, []
    for each in arrays.values():
        steps, neurons = np.nonzero(each)
        rows = neurons + first
        options.setdefault("colors", "black")
        axes.vlines(steps * dt, rows - 0.4, rows + 0.4, **options)
        middles.append(first + (each.shape[1] - 1) / 2)
        first += each.shape[1]
    (total,) = set(lengths.values())
    axes.set_xlim(-0.5 * dt, (total - 0.5) * dt)
    axes.set_ylim(-0.5, first - 0.5)
    axes.set_xlabel("time")
    if isinstance(spikes, Mapping):
        axes.set_yticks(middles, list(arrays))
        bounds = np.cumsum([each.shape[1] for each in arrays.values()])[:-1] - 0.5
        for bound in bounds:
            axes.axhline(bound, color="0.8", linewidth=0.8)
    else:
        axes.set_ylabel("neuron")
    return axes


def _checked(name: str, spikes: Any) -> np.ndarray:
    array = np.asarray(spikes)
    told = f" {name!r}" if name else ""
    if array.ndim != 2 or not array.size:
        raise ValueError(
            f"The spikes{told} must have shape [T, N], not {list(array.shape)}: choose "
            "one example, as in `spikes[:, 0]`."
        )
    if np.isnan(np.asarray(array, float)).any():
        raise ValueError(f"The spikes{told} have entries that are NaN.")
    return array
