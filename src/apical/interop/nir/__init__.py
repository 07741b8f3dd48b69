"""Neuromorphic exchange: networks of spiking neurons to and from NIR.

A network is an explicit list of layers, from input to output. `write` and `read`
exchange it with other simulators and chips, `run` runs it in JAX.

Source: Pedersen et al. 2024, Nature Communications 15:8122.
"""

from ._conversions import absorb_resistance as absorb_resistance
from ._conversions import cuba_lif_from_decay as cuba_lif_from_decay
from ._conversions import li_from_decay as li_from_decay
from ._conversions import lif_from_decay as lif_from_decay
from ._discrete_time import decay_from_tau as decay_from_tau
from ._discrete_time import tau_from_decay as tau_from_decay
from ._export import to_graph as to_graph
from ._file import Network as Network
from ._file import read as read
from ._file import write as write
from ._import import from_graph as from_graph
from ._layer import Layer as Layer
from ._neurons import IF as IF
from ._neurons import LI as LI
from ._neurons import LIF as LIF
from ._neurons import CubaLI as CubaLI
from ._neurons import CubaLIF as CubaLIF
from ._neurons import I as I
from ._neurons import Threshold as Threshold
from ._recurrent import Recurrent as Recurrent
from ._run import init_state as init_state
from ._run import run as run
from ._run import step as step
from ._structural import AvgPool2d as AvgPool2d
from ._structural import Delay as Delay
from ._structural import Flatten as Flatten
from ._structural import SumPool2d as SumPool2d
from ._weights import Affine as Affine
from ._weights import Conv1d as Conv1d
from ._weights import Conv2d as Conv2d
from ._weights import Linear as Linear
from ._weights import Scale as Scale
