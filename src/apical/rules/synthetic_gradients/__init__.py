"""Synthetic gradients: at every node, and at the cuts of a long sequence."""

from ._critic import Critic as Critic
from ._synthetic_gradients import SyntheticGradients as SyntheticGradients
from ._windowed import WindowedSyntheticGradients as WindowedSyntheticGradients
