"""Scalar feedback: what reaches a node is one number, how good the outcome was."""

from ..stochastic_nodes._concrete import Concrete as Concrete
from ..stochastic_nodes._score_function import ScoreFunction as ScoreFunction
from ..stochastic_nodes._straight_through import StraightThrough as StraightThrough
from ._evolution_strategy import EvolutionStrategy as EvolutionStrategy
from ._forward_gradient import ForwardGradient as ForwardGradient
from ._node_perturbation import NodePerturbation as NodePerturbation
from ._weight_perturbation import WeightPerturbation as WeightPerturbation
