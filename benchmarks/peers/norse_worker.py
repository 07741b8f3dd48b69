"""norse: `nn.Linear` over all steps at once, then `LIFBoxCell` in a loop.

Its currents enter with a weight of dt / tau = 1 - decay.
"""

from typing import Any

import norse.torch as norse
import torch
from _problem import Problem
from _worker import Built, serve
from norse.torch.functional.lif_box import LIFBoxParameters

_DT = 1e-3


def build(problem: Problem, told: dict[str, Any]) -> Built:
    """The gradient of a sum of the spikes, or the spikes alone."""
    w = torch.from_numpy(problem.weights[0])
    x, weights = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
    linear = torch.nn.Linear(*w.shape, bias=False)
    linear.weight.data = w.T.contiguous()
    rate = torch.as_tensor((1 - told["decay"]) / _DT)
    lif = norse.LIFBoxCell(LIFBoxParameters(tau_mem_inv=rate), dt=_DT)

    def spikes() -> Any:
        currents, found, state = linear(x), [], None
        for current in currents:
            spiked, state = lif(current, state)
            found.append(spiked)
        return torch.stack(found)

    def forward() -> Any:
        with torch.no_grad():
            return spikes()

    def both() -> Any:
        linear.weight.grad = None
        torch.sum(spikes() * weights).backward()
        return linear.weight.grad

    if told["way"] == "forward":
        return Built(forward, lambda: [forward().numpy()])
    return Built(both, grads=lambda: [both().T.numpy()])


if __name__ == "__main__":
    serve(build)
