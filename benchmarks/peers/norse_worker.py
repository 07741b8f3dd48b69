"""norse: `nn.Linear` over all steps at once, then `LIFBoxCell` in a loop.

Its currents enter with a weight of dt / tau = 1 - decay.
"""

from typing import Any

import norse.torch as norse
import torch
from _problem import Problem
from _torch_layer import built, linear_of
from _worker import Built, serve
from norse.torch.functional.lif_box import LIFBoxParameters

_DT = 1e-3


def build(problem: Problem, told: dict[str, Any]) -> Built:
    """The gradient of a sum of the spikes, or the spikes alone."""
    linear, x = linear_of(problem), torch.from_numpy(problem.x)
    rate = torch.as_tensor((1 - told["decay"]) / _DT)
    lif = norse.LIFBoxCell(LIFBoxParameters(tau_mem_inv=rate), dt=_DT)

    def spikes() -> Any:
        currents, found, state = linear(x), [], None
        for current in currents:
            spiked, state = lif(current, state)
            found.append(spiked)
        return torch.stack(found)

    return built(problem, linear, spikes, told["way"])


if __name__ == "__main__":
    serve(build)
