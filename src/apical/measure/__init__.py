"""Measures of a learner: alignment, cost, locality, regime, examples' contributions."""

from ._agreement import Agreement as Agreement
from ._alignment import Alignment as Alignment
from ._alignment import LayerAgreement as LayerAgreement
from ._alignment import alignment as alignment
from ._cost import Cost as Cost
from ._cost import Expense as Expense
from ._cost import cost as cost
from ._locality import Hops as Hops
from ._locality import LeafLocality as LeafLocality
from ._locality import Locality as Locality
from ._locality import Mismatch as Mismatch
from ._locality import locality as locality
from ._locality import plot_needs as plot_needs
from ._regime import Regime as Regime
from ._regime import regime as regime
from .kernel import PathKernel as PathKernel
from .kernel import path_kernel as path_kernel
from .kernel import plot_contributions as plot_contributions
