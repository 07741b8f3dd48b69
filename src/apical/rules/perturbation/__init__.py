"""Perturbation rules: estimates from slopes of the loss along random directions."""

from ._evolution_strategy import EvolutionStrategy as EvolutionStrategy
from ._forward_gradient import ForwardGradient as ForwardGradient
from ._node_perturbation import NodePerturbation as NodePerturbation
from ._weight_perturbation import WeightPerturbation as WeightPerturbation
