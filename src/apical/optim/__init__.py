"""Optax transformations from the literature that are not in optax."""

from ._batch_manhattan import BatchManhattanState as BatchManhattanState
from ._batch_manhattan import batch_manhattan as batch_manhattan
from ._eligibility_trace import EligibilityTraceState as EligibilityTraceState
from ._eligibility_trace import eligibility_trace as eligibility_trace
from ._sign_agreement import SignAgreementState as SignAgreementState
from ._sign_agreement import add_sign as add_sign
from ._sign_agreement import cosine_decay as cosine_decay
from ._sign_agreement import linear_decay as linear_decay
from ._sign_agreement import power_sign as power_sign
from ._sign_agreement import restart_decay as restart_decay
from ._sign_concordance_projection import (
    SignConcordanceProjectionState as SignConcordanceProjectionState,
)
from ._sign_concordance_projection import (
    sign_concordance_projection as sign_concordance_projection,
)
