"""Measures of a learner: gradient alignment, cost, regime of predictive coding."""

from ._agreement import Agreement as Agreement
from ._alignment import Alignment as Alignment
from ._alignment import LayerAgreement as LayerAgreement
from ._alignment import alignment as alignment
from ._cost import Cost as Cost
from ._cost import Expense as Expense
from ._cost import cost as cost
from ._regime import Regime as Regime
from ._regime import regime as regime
