"""What rules are made of, for people who write their own."""

from ..circuit import LOSS as LOSS
from ..circuit import Edge as Edge
from ._base import local_signals as local_signals
from ._base import static as static
from ._iteration import repeat as repeat
from ._numerics import fold_in_name as fold_in_name
from ._numerics import squared_norm as squared_norm
from ._validation import inputs_of as inputs_of
from ._validation import target_of as target_of
from ._validation import with_inputs as with_inputs
from .feedback._feedback_weights import Draw as Draw
from .feedback._feedback_weights import draw_leaves as draw_leaves
from .feedback._feedback_weights import like_forward as like_forward
from .feedback._feedback_weights import require_different as require_different
from .feedback._feedback_weights import require_direct as require_direct
from .feedback._feedback_weights import through_feedback as through_feedback
from .predictive_coding.inference._gradient_descent import relax as relax
