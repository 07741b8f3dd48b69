"""The rules, under their standard names."""

from ._backpropagation import Backpropagation as Backpropagation
from ._direct_feedback import DirectFeedbackAlignment as DirectFeedbackAlignment
from ._direct_random_target import (
    DirectRandomTargetProjection as DirectRandomTargetProjection,
)
from ._feedback_alignment import FeedbackAlignment as FeedbackAlignment
from ._kolen_pollack import KolenPollack as KolenPollack
from ._rule import Rule as Rule
from ._rule import rule as rule
from ._sign_concordance import SignConcordance as SignConcordance
from ._weight_mirror import WeightMirror as WeightMirror
from .equilibrium import ActivationRelaxation as ActivationRelaxation
from .equilibrium import ContrastiveHebbian as ContrastiveHebbian
from .equilibrium import CoupledLearning as CoupledLearning
from .equilibrium import DualPropagation as DualPropagation
from .equilibrium import EquilibriumPropagation as EquilibriumPropagation
from .equilibrium import GeneRec as GeneRec
from .equilibrium import Holomorphic as Holomorphic
from .equilibrium import Recirculation as Recirculation
from .local_objectives import CLAPP as CLAPP
from .local_objectives import PEPITA as PEPITA
from .local_objectives import ForwardForward as ForwardForward
from .local_objectives import LocalLosses as LocalLosses
from .predictive_coding import AmortisedStart as AmortisedStart
from .predictive_coding import ConjugateGradients as ConjugateGradients
from .predictive_coding import DecayingPrecision as DecayingPrecision
from .predictive_coding import DifferentialEquation as DifferentialEquation
from .predictive_coding import ErrorRelaxation as ErrorRelaxation
from .predictive_coding import (
    IncrementalPredictiveCoding as IncrementalPredictiveCoding,
)
from .predictive_coding import LearnedPrecision as LearnedPrecision
from .predictive_coding import Nudge as Nudge
from .predictive_coding import PredictiveCoding as PredictiveCoding
from .predictive_coding import RandomFeedback as RandomFeedback
from .predictive_coding import Sweep as Sweep
from .predictive_coding import ZeroDivergence as ZeroDivergence
from .scalar_feedback import Concrete as Concrete
from .scalar_feedback import EvolutionStrategy as EvolutionStrategy
from .scalar_feedback import ForwardGradient as ForwardGradient
from .scalar_feedback import NodePerturbation as NodePerturbation
from .scalar_feedback import ScoreFunction as ScoreFunction
from .scalar_feedback import StraightThrough as StraightThrough
from .scalar_feedback import WeightPerturbation as WeightPerturbation
from .synthetic_gradients import Critic as Critic
from .synthetic_gradients import SyntheticGradients as SyntheticGradients
from .synthetic_gradients import (
    WindowedSyntheticGradients as WindowedSyntheticGradients,
)
from .target_propagation import DifferenceReconstruction as DifferenceReconstruction
from .target_propagation import (
    DifferenceTargetPropagation as DifferenceTargetPropagation,
)
from .target_propagation import NoiseReconstruction as NoiseReconstruction
from .target_propagation import TargetPropagation as TargetPropagation
