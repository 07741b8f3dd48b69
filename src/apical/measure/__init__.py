"""Measures of a learner: alignment, cost, regime, signals, and what examples do."""

from ._agreement import Agreement as Agreement
from ._alignment import Alignment as Alignment
from ._alignment import LayerAgreement as LayerAgreement
from ._alignment import alignment as alignment
from ._cost import Cost as Cost
from ._cost import Expense as Expense
from ._cost import cost as cost
from ._feedback_angle import feedback_angle as feedback_angle
from ._regime import Regime as Regime
from ._regime import regime as regime
from ._signal_alignment import SignalAgreement as SignalAgreement
from ._signal_alignment import signal_alignment as signal_alignment
from .kernel import PathKernel as PathKernel
from .kernel import path_kernel as path_kernel
from .kernel import plot_contributions as plot_contributions
from .representation import RecordingFit as RecordingFit
from .representation import RuleFit as RuleFit
from .representation import cka as cka
from .representation import effective_rank as effective_rank
from .representation import recording_fit as recording_fit
from .representation import similarity_matrix as similarity_matrix
