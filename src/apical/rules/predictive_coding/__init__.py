"""Predictive coding, composed of parts: each in a file of its own."""

from ._feedback import RandomFeedback as RandomFeedback
from ._incremental import IncrementalPredictiveCoding as IncrementalPredictiveCoding
from ._latent_arguments import AmortisedStart as AmortisedStart
from ._nudge import Nudge as Nudge
from ._precision import DecayingPrecision as DecayingPrecision
from ._precision import LearnedPrecision as LearnedPrecision
from ._predictive_coding import PredictiveCoding as PredictiveCoding
from .inference._error_space import ConjugateGradients as ConjugateGradients
from .inference._error_space import ErrorRelaxation as ErrorRelaxation
from .inference._ode import DifferentialEquation as DifferentialEquation
from .inference._sweep import Sweep as Sweep
from .inference._sweep import ZeroDivergence as ZeroDivergence
