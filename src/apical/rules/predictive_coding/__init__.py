"""Predictive coding, composed of parts: each in a file of its own."""

from ._amortised import AmortisedStart as AmortisedStart
from ._conjugate_gradients import ConjugateGradients as ConjugateGradients
from ._error_relaxation import ErrorRelaxation as ErrorRelaxation
from ._feedback import RandomFeedback as RandomFeedback
from ._incremental import IncrementalPredictiveCoding as IncrementalPredictiveCoding
from ._nudge import Nudge as Nudge
from ._ode import DifferentialEquation as DifferentialEquation
from ._precision import DecayingPrecision as DecayingPrecision
from ._precision import LearnedPrecision as LearnedPrecision
from ._predictive_coding import PredictiveCoding as PredictiveCoding
from ._sweep import Sweep as Sweep
from ._zero_divergence import ZeroDivergence as ZeroDivergence
