"""Hidden layers that no node shows, because their data are no examples.

A layer above an array that the loss function closes over, or that all examples share,
depends on parameters alone, so it is a part of an effective weight. If such an array
holds the data, the network above it would learn by the gradient without a word. So a
loss function without a node is checked: would there be one if these arrays were data?
"""

from __future__ import annotations

from ._dataflow import Flow
from ._gain_or_synapse import Products
from ._nodes import entering
from ._synapses import weighted_ops


def hidden_layers(flow: Flow) -> tuple[str, ...]:
    """The lines of activities that would enter a synapse if every array were data."""
    other = flow.with_every_array_as_data()
    products = Products(other)
    other = other.knowing(sums=products.sums)
    found = entering(other, weighted_ops(other, products))
    return tuple(dict.fromkeys(other.maker[n][0].where for n in sorted(found)))
