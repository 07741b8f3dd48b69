"""Losses with loops, each beside a twin: the same loss with stops placed by hand.

`CASES[name]()` builds a case with the default type of the moment. The gradient of its
twin, by `jax.grad`, is what e-prop says; `gradient(BACKPROPAGATION)` is that of the
loss, `gradient(TRUNCATED)` that of one step. `REFUSALS[name]()` are losses in which
units mix, `STREAMS[name]()` windows and steps with the state handed on. The gradients
of other rules by brute force are in `support.influence`.
"""

from . import _composed as _composed
from . import _convolutions as _convolutions
from . import _frameworks as _frameworks
from . import _loops as _loops
from . import _rates as _rates
from . import _series as _series
from . import _spikes as _spikes
from . import _structures as _structures
from ._case import BACKPROPAGATION as BACKPROPAGATION
from ._case import CASES as CASES
from ._case import EPROP as EPROP
from ._case import EXAMPLES as EXAMPLES
from ._case import HIDDEN as HIDDEN
from ._case import INPUTS as INPUTS
from ._case import OUTPUTS as OUTPUTS
from ._case import SNAP as SNAP
from ._case import TIME as TIME
from ._case import TRUNCATED as TRUNCATED
from ._case import Case as Case
from ._case import Draw as Draw
from ._case import Paths as Paths
from ._case import gradient as gradient
from ._case import is_array as is_array
from ._case import spike as spike
from ._case import value_and_gradient as value_and_gradient
from ._refusals import REFUSALS as REFUSALS
from ._refusals import Refusal as Refusal
from ._streams import STREAMS as STREAMS
from ._streams import Stream as Stream
