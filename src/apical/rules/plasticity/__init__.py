"""Plasticity from spike times: rules that read the two ends of a synapse in time."""

from ._bounds import AbstractBounds as AbstractBounds
from ._bounds import AdditiveBounds as AdditiveBounds
from ._bounds import MultiplicativeBounds as MultiplicativeBounds
from ._bounds import Unbounded as Unbounded
from ._homeostasis import AbstractHomeostasis as AbstractHomeostasis
from ._homeostasis import AbstractNormalisation as AbstractNormalisation
from ._homeostasis import DivisiveNormalisation as DivisiveNormalisation
from ._homeostasis import SubtractiveNormalisation as SubtractiveNormalisation
from ._homeostasis import SynapticScaling as SynapticScaling
from ._pairing import AbstractPairing as AbstractPairing
from ._pairing import AllPairs as AllPairs
from ._pairing import NearestNeighbour as NearestNeighbour
from ._pairing import PresynapticTrace as PresynapticTrace
from ._pairing import Term as Term
from ._stdp import STDP as STDP
from ._synaptic_rule import PlasticityInfo as PlasticityInfo
from ._synaptic_rule import PlasticityState as PlasticityState
from ._third_factor import AbstractThirdFactor as AbstractThirdFactor
from ._third_factor import NegativeLoss as NegativeLoss
from ._third_factor import Reward as Reward
from ._third_factor import TeachingSignal as TeachingSignal
from ._three_factor import ThreeFactor as ThreeFactor
from ._triplet import Triplet as Triplet
