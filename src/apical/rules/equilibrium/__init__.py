"""Equilibrium rules: contrasts of settled states, and related rules."""

from ._activation_relaxation import ActivationRelaxation as ActivationRelaxation
from ._contrastive_hebbian import ContrastiveHebbian as ContrastiveHebbian
from ._contrastive_hebbian import CoupledLearning as CoupledLearning
from ._dual_propagation import DualPropagation as DualPropagation
from ._equilibrium_propagation import EquilibriumPropagation as EquilibriumPropagation
from ._generec import GeneRec as GeneRec
from ._nudging import Holomorphic as Holomorphic
from ._recirculation import Recirculation as Recirculation
