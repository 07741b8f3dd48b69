"""Synthetic gradients: critics that predict gradients at nodes, or between windows."""

from ._critic import Critic as Critic
from ._synthetic_gradients import SyntheticGradients as SyntheticGradients
from ._windowed_synthetic_gradients import (
    WindowedSyntheticGradients as WindowedSyntheticGradients,
)
