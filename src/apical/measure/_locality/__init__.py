"""Locality: what the update of each parameter needs, measured."""

from ._locality import locality as locality
from ._result import Hops as Hops
from ._result import LeafLocality as LeafLocality
from ._result import Locality as Locality
from ._result import Mismatch as Mismatch
from ._strips_plot import plot_needs as plot_needs
