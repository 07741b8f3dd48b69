"""snntorch: `nn.Linear` over all steps at once, then `snn.Leaky` in a loop."""

from typing import Any

import snntorch as snn
import torch
from _problem import Problem
from _torch_layer import built, linear_of
from _worker import Built, serve
from snntorch import surrogate


def build(problem: Problem, told: dict[str, Any]) -> Built:
    """The gradient of a sum of the spikes, or the spikes alone."""
    linear, x = linear_of(problem), torch.from_numpy(problem.x)
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

    return built(problem, linear, spikes, told["way"])


if __name__ == "__main__":
    serve(build)
