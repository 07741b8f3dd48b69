"""Target propagation, composed of parts: each in a file of its own."""

from ._target_propagation import (
    DifferenceTargetPropagation as DifferenceTargetPropagation,
)
from ._target_propagation import TargetPropagation as TargetPropagation
from ._training import DifferenceReconstruction as DifferenceReconstruction
from ._training import NoiseReconstruction as NoiseReconstruction
