"""The rules, under their standard names."""

from ._backpropagation import Backpropagation as Backpropagation
from ._base import Rule as Rule
from ._base import rule as rule
from .equilibrium import ActivationRelaxation as ActivationRelaxation
from .equilibrium import ContrastiveHebbian as ContrastiveHebbian
from .equilibrium import CoupledLearning as CoupledLearning
from .equilibrium import DualPropagation as DualPropagation
from .equilibrium import EquilibriumPropagation as EquilibriumPropagation
from .equilibrium import GeneRec as GeneRec
from .equilibrium import Holomorphic as Holomorphic
from .equilibrium import Recirculation as Recirculation
from .feedback import DirectFeedbackAlignment as DirectFeedbackAlignment
from .feedback import DirectRandomTargetProjection as DirectRandomTargetProjection
from .feedback import FeedbackAlignment as FeedbackAlignment
from .feedback import KolenPollack as KolenPollack
from .feedback import RandomFeedback as RandomFeedback
from .feedback import SignConcordance as SignConcordance
from .feedback import WeightMirror as WeightMirror
from .local_objectives import CLAPP as CLAPP
from .local_objectives import PEPITA as PEPITA
from .local_objectives import ForwardForward as ForwardForward
from .local_objectives import LocalLosses as LocalLosses
from .online import OTTT as OTTT
from .online import RFLO as RFLO
from .online import RTRL as RTRL
from .online import UORO as UORO
from .online import EfficientTraces as EfficientTraces
from .online import EProp as EProp
from .online import SnAp as SnAp
from .perturbation import EvolutionStrategy as EvolutionStrategy
from .perturbation import ForwardGradient as ForwardGradient
from .perturbation import NodePerturbation as NodePerturbation
from .perturbation import WeightPerturbation as WeightPerturbation
from .plasticity import STDP as STDP
from .plasticity import AdditiveBounds as AdditiveBounds
from .plasticity import AllPairs as AllPairs
from .plasticity import DivisiveNormalisation as DivisiveNormalisation
from .plasticity import MultiplicativeBounds as MultiplicativeBounds
from .plasticity import NearestNeighbour as NearestNeighbour
from .plasticity import NegativeLoss as NegativeLoss
from .plasticity import PresynapticTrace as PresynapticTrace
from .plasticity import Reward as Reward
from .plasticity import SubtractiveNormalisation as SubtractiveNormalisation
from .plasticity import SynapticScaling as SynapticScaling
from .plasticity import TeachingSignal as TeachingSignal
from .plasticity import ThreeFactor as ThreeFactor
from .plasticity import Triplet as Triplet
from .plasticity import Unbounded as Unbounded
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
from .predictive_coding import Sweep as Sweep
from .predictive_coding import ZeroDivergence as ZeroDivergence
from .stochastic_nodes import Concrete as Concrete
from .stochastic_nodes import ScoreFunction as ScoreFunction
from .stochastic_nodes import StraightThrough as StraightThrough
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
