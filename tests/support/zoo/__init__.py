"""The zoo: the problems that every test of the library runs over.

`MODELS` are networks, `OPERATIONS` two synapses each with one operation to try,
`OPAQUE` what feedback weights cannot reach (with the leaves that an error must
name), `random_graph` a hypothesis strategy for networks nobody thought of.
"""

from ._bare import BARE
from ._composed import COMPOSED
from ._count import count_synapses as count_synapses
from ._frameworks import FRAMEWORKS
from ._hazards import OPAQUE as OPAQUE
from ._model import Model as Model
from ._model import backpropagation as backpropagation
from ._model import is_learned as is_learned
from ._model import learned as learned
from ._operations import OPERATIONS as OPERATIONS
from ._random_graphs import random_graph as random_graph
from ._recurrent import RECURRENT
from ._structured import STRUCTURED

MODELS: dict[str, Model] = {**BARE, **RECURRENT, **STRUCTURED, **COMPOSED, **FRAMEWORKS}
