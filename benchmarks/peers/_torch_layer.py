"""A linear layer over all steps at once in torch, and what is timed of its spikes."""

from collections.abc import Callable
from typing import Any

import torch
from _problem import Problem
from _worker import Built


def linear_of(problem: Problem) -> torch.nn.Linear:
    """The layer before the units, without a bias."""
    w = torch.from_numpy(problem.weights[0])
    linear = torch.nn.Linear(*w.shape, bias=False)
    linear.weight.data = w.T.contiguous()
    return linear


def built(
    problem: Problem, linear: torch.nn.Linear, spikes: Callable[[], Any], way: str
) -> Built:
    """The gradient of a sum of the spikes, or (`"forward"`) the spikes alone."""
    weights = torch.from_numpy(problem.y)

    def forward() -> Any:
        with torch.no_grad():
            return spikes()

    def both() -> Any:
        linear.weight.grad = None
        torch.sum(spikes() * weights).backward()
        return linear.weight.grad

    if way == "forward":
        return Built(forward, lambda: [forward().numpy()])
    return Built(both, grads=lambda: [both().T.numpy()])
