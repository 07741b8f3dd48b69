"""Target propagation, composed of parts (inverses and their training)."""

from ._difference_target_propagation import (
    DifferenceTargetPropagation as DifferenceTargetPropagation,
)
from ._reconstruction import AbstractReconstruction as AbstractReconstruction
from ._reconstruction import DifferenceReconstruction as DifferenceReconstruction
from ._reconstruction import NoiseReconstruction as NoiseReconstruction
from ._target_propagation import TargetPropagation as TargetPropagation
