"""How close, how good, how dear, how local."""

from ._alignment import Agreement as Agreement
from ._alignment import Alignment as Alignment
from ._alignment import alignment as alignment
