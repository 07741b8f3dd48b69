"""From a loss function to nodes and synapses."""

from ._calls import require_arguments as require_arguments
from ._calls import require_function as require_function
from ._chains import chains as chains
from ._circuit import Circuit as Circuit
from ._circuit import Run as Run
from ._circuit import drive_of as drive_of
from ._hearing import nodes_made_of as nodes_made_of
from ._holomorphic import not_holomorphic as not_holomorphic
from ._inner import inner_leaves as inner_leaves
from ._jaxpr import is_concrete as is_concrete
from ._leaves import Leaves as Leaves
from ._leaves import shapes_of as shapes_of
from ._node_kinds import drive_sites as drive_sites
from ._node_kinds import stochastic_nodes as stochastic_nodes
from ._nonlinearity import nonlinearity as nonlinearity
from ._reduction import require_reduction as require_reduction
from ._setting import Setting as Setting
from ._structure import Node as Node
from ._synapse import Synapse as Synapse
from ._trace import bernoulli as bernoulli
from ._trace import node as node
from ._trace import output as output
from ._trace import trace as trace
from ._trace import trace_setting as trace_setting
