"""Predictive coding, composed of parts (inference, precision, nudge, ...)."""

from ._amortised_start import AmortisedStart as AmortisedStart
from ._energy import AbstractEnergy as AbstractEnergy
from ._energy import Settled as Settled
from ._incremental import IncrementalPredictiveCoding as IncrementalPredictiveCoding
from ._nudge import AbstractNudge as AbstractNudge
from ._nudge import Nudge as Nudge
from ._precision import AbstractPrecision as AbstractPrecision
from ._precision import DecayingPrecision as DecayingPrecision
from ._precision import LearnedPrecision as LearnedPrecision
from ._predictive_coding import PredictiveCoding as PredictiveCoding
from .inference import AbstractInference as AbstractInference
from .inference import Budget as Budget
from .inference import ConjugateGradients as ConjugateGradients
from .inference import DifferentialEquation as DifferentialEquation
from .inference import ErrorRelaxation as ErrorRelaxation
from .inference import GradientDescent as GradientDescent
from .inference import Reach as Reach
from .inference import Sweep as Sweep
from .inference import ZeroDivergence as ZeroDivergence
from .inference import relax as relax
