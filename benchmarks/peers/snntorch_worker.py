"""snntorch: `nn.Linear` over all steps at once, then `snn.Leaky` in a loop."""

from typing import Any

import snntorch as snn
import torch
from _problem import Problem
from _worker import Built, serve
from snntorch import surrogate


def build(problem: Problem, told: dict[str, Any]) -> Built:
    """The gradient of a sum of the spikes, or the spikes alone."""
    w = torch.from_numpy(problem.weights[0])
    x, weights = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
    linear = torch.nn.Linear(*w.shape, bias=False)
    linear.weight.data = w.T.contiguous()
    spike = surrogate.fast_sigmoid(told["slope"])
    lif = snn.Leaky(told["decay"], 1.0, spike, reset_mechanism=told["reset"])

    def spikes() -> Any:
        scaled = told["gain"] * linear.weight
        currents, found = torch.nn.functional.linear(x, scaled), []
        potential = torch.zeros_like(currents[0])
        for current in currents:
            spiked, potential = lif(current, potential)
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
