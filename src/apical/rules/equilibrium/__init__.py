"""Rules that contrast the states of a network that settles."""

from ._equilibrium_propagation import EquilibriumPropagation as EquilibriumPropagation
from ._estimates import Holomorphic as Holomorphic
