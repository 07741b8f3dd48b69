"""The rules, under their standard names."""

from ._backpropagation import Backpropagation as Backpropagation
from ._direct_feedback import DirectFeedbackAlignment as DirectFeedbackAlignment
from ._direct_random_target import (
    DirectRandomTargetProjection as DirectRandomTargetProjection,
)
from ._feedback_alignment import FeedbackAlignment as FeedbackAlignment
from ._inference import Sweep as Sweep
from ._kolen_pollack import KolenPollack as KolenPollack
from ._predictive_coding import PredictiveCoding as PredictiveCoding
from ._rule import Rule as Rule
from ._rule import rule as rule
from ._sign_concordance import SignConcordance as SignConcordance
from ._weight_mirror import WeightMirror as WeightMirror
