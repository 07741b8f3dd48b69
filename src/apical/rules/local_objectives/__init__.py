"""Rules with a local objective for each node or block of nodes."""

from ._clapp import CLAPP as CLAPP
from ._forward_forward import ForwardForward as ForwardForward
from ._local_losses import LocalLosses as LocalLosses
from ._pepita import PEPITA as PEPITA
