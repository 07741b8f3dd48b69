"""Feedback rules: the backward pass uses other weights than the forward pass."""

from ._direct_feedback_alignment import (
    DirectFeedbackAlignment as DirectFeedbackAlignment,
)
from ._direct_random_target_projection import (
    DirectRandomTargetProjection as DirectRandomTargetProjection,
)
from ._feedback_alignment import FeedbackAlignment as FeedbackAlignment
from ._kolen_pollack import KolenPollack as KolenPollack
from ._relaxation_feedback import RandomFeedback as RandomFeedback
from ._sign_concordance import SignConcordance as SignConcordance
from ._weight_mirror import WeightMirror as WeightMirror
