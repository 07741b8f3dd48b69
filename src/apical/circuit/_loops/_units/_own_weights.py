"""The weights by which a unit's own output reaches it again through a synapse.

A recurrent synapse connects every unit with every other. `OwnWeights` keeps, of its
product, the terms that lead from a unit to itself: the diagonal of a square matrix, for
each gate. It is what SnAp-1 passes back through time (Menick et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._steps._step import StepSynapse
from ._entry_groups import NONE
from ._synapse_axes import SynapseAxes, synapse_axes
from ._units import Units


@dataclass(frozen=True, eq=False)
class OwnWeights:
    """For each entry of a synapse's output, the inputs that come from the same unit.

    Attributes:
      axes: the synapse's axes.
      inputs: `[repeats, outputs]` positions in the flat input; -1 for none.
      weights: the positions in the flat weight that they meet.
    """

    axes: SynapseAxes
    inputs: np.ndarray
    weights: np.ndarray

    def __call__(self, x: Any, w: Any) -> Any:
        """The part of the synapse's output that comes from each unit itself."""
        axes = self.axes
        x, w = axes.read(x).reshape(-1), axes.weigh(w).reshape(-1)
        made = jnp.zeros(self.inputs.shape[1:], jnp.result_type(x, w))
        for inputs, weights in zip(self.inputs, self.weights, strict=True):
            there = jnp.asarray(inputs >= 0)
            terms = x[np.maximum(inputs, 0)] * w[np.maximum(weights, 0)]
            made = made + jnp.where(there, terms, 0)
        return axes.unmade(made.reshape([axes.sizes[a] for a in axes.output]))


def own_weights(units: Units, i: int) -> OwnWeights:
    """The own weights of a recurrent synapse, by its position in the step."""
    synapse: StepSynapse = units.step.synapses[i]
    axes = synapse_axes(units.step, synapse)
    driven = units.driven(synapse.output)
    assert driven is not None
    assert isinstance(synapse.input, int)
    # Patches are copies of entries, so labels may pass through them as numbers; 0 is
    # the padding.
    with jax.ensure_compile_time_eval():
        come = axes.read(jnp.asarray(units.origin[synapse.input] + 1, jnp.float32))
        come = np.rint(np.asarray(come)).astype(int) - 1
    units_out = np.asarray(axes.made(driven))
    order = np.argsort(come.ravel(), kind="stable")
    ordered = come.ravel()[order]
    wanted = units_out.ravel()
    first = np.searchsorted(ordered, wanted, "left")
    last = np.searchsorted(ordered, wanted, "right")
    count = np.where(wanted == NONE, 0, last - first)
    outputs = np.repeat(np.arange(len(wanted)), count)
    within = np.arange(len(outputs)) - np.repeat(np.cumsum(count) - count, count)
    inputs = order[first[outputs] + within]
    x = dict(zip(axes.input, np.unravel_index(inputs, come.shape), strict=True))
    y = dict(zip(axes.output, np.unravel_index(outputs, units_out.shape), strict=True))
    meet = np.ones(len(outputs), bool)
    for axis in set(axes.input) & set(axes.output):
        meet &= x[axis] == y[axis]
    inputs, outputs = inputs[meet], outputs[meet]
    place = [{**x, **y}[axis][meet] for axis in axes.weight]
    shape = [axes.sizes[a] for a in axes.weight]
    weights = np.ravel_multi_index(place, shape) if place else np.zeros(0, int)
    starts = np.searchsorted(outputs, outputs, "left")
    repeat = np.arange(len(outputs)) - starts
    found = np.full((2, int(repeat.max(initial=-1)) + 1, len(wanted)), NONE)
    found[:, repeat, outputs] = inputs, weights
    return OwnWeights(axes, found[0], found[1])
