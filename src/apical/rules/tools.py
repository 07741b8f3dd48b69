"""What rules are made of, for people who write their own."""

from ..circuit import LOSS as LOSS
from ..circuit import Edge as Edge
from ._feedback_path import Draw as Draw
from ._feedback_path import draw_leaves as draw_leaves
from ._feedback_path import like_forward as like_forward
from ._feedback_path import require_different as require_different
from ._feedback_path import require_direct as require_direct
from ._feedback_path import through_feedback as through_feedback
from ._inputs import inputs_of as inputs_of
from ._inputs import with_inputs as with_inputs
from ._rule import local_signals as local_signals
from ._rule import salted as salted
from ._rule import squared_norm as squared_norm
from ._rule import static as static
from ._target import target_of as target_of
from .predictive_coding._relaxation import relax as relax
from .predictive_coding._relaxation import repeat as repeat
