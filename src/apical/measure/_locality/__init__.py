"""Locality: what the update of each parameter needs, measured."""

from ._locality import locality as locality
from ._needs_table import RuleNeeds as RuleNeeds
from ._needs_table import measured_needs as measured_needs
from ._needs_table import needs_table as needs_table
from ._result import Hops as Hops
from ._result import LeafLocality as LeafLocality
from ._result import Locality as Locality
from ._result import Mismatch as Mismatch
from ._strips_plot import plot_needs as plot_needs
