"""PyTorch: any `torch.nn.Module` as a loss function over a pytree of parameters.

The operations of torch run as JAX's, with torchax: no gradient of torch is used.

Source: torchax 0.0.13; what it would get wrong without a word is put right or refused.
"""

from ._check import check as check
from ._functional import apply_function as apply_function
from ._functional import loss_function as loss_function
from ._functional import parameters as parameters
from ._functional import write_back as write_back
from ._marks import node as node
from ._marks import output as output
from ._model import Model as Model
from ._model import as_model as as_model
from ._shared_memory import Refused as Refused
