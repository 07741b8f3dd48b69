"""apical: exact spike times of two layers."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from _problem import Problem
from _worker import Built, serve

from apical import spiking


def build(problem: Problem, told: dict[str, Any]) -> Built:
    """The first spikes of the last layer, and the gradient of their weighted sum."""
    weights = list(map(jnp.asarray, problem.weights))
    y = jnp.asarray(problem.y)
    layer = partial(
        spiking.spike_times,
        tau_m=told["tau_m"],
        tau_s=told["tau_s"],
        until=told["until"],
    )

    def first(weights: Any, x: Any) -> Any:
        hidden = layer(weights[0], x, max_spikes=told["max_spikes"])
        out = layer(weights[1], hidden.times, max_spikes=1, overflow="truncate")
        return out.times[:, 0]

    def loss(weights: Any, x: Any) -> Any:
        times = jax.vmap(first, (None, 0))(weights, x)
        return jnp.mean(jnp.sum(times * y, axis=1)), times

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    x = jnp.asarray(problem.x)

    def call() -> Any:
        return step(weights, x)

    return Built(call, lambda: [call()[0][1]], lambda: call()[1])


if __name__ == "__main__":
    serve(build)
