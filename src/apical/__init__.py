"""apical: train any JAX model without backpropagation, and measure the difference."""

import typing
from importlib import import_module

from . import measure as measure
from . import optim as optim
from . import rules as rules
from . import spiking as spiking
from .circuit import Circuit as Circuit
from .circuit import bernoulli as bernoulli
from .circuit import depth_scaled as depth_scaled
from .circuit import drive_of as drive_of
from .circuit import node as node
from .circuit import output as output
from .circuit import trace as trace
from .rules._base import Credit as Credit
from .rules._base import Signal as Signal
from .rules._learner import value_and_grad as value_and_grad
from .rules._train_step import train_step as train_step

if typing.TYPE_CHECKING:
    from . import testing as testing

__version__ = "0.2.0"

# Imported where they are first used: the lab needs an extra, and a second.
_LATER = ("claims", "interop", "lab", "testing")


def __getattr__(name: str) -> typing.Any:
    if name in _LATER:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
