"""apical: a dense layer, over all steps at once or in each, and `spiking.lif`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from _problem import Problem
from _worker import Built, serve

from apical import spiking


def build(problem: Problem, told: dict[str, Any]) -> Built:
    """The gradient of a sum of the spikes, or the spikes alone."""
    (w,), (x, weights) = map(jnp.asarray, problem.weights), problem.args
    step = partial(
        spiking.lif,
        decay=told["decay"],
        reset=told["reset"],
        detach_reset=told["detached"],
        spike=spiking.fast_sigmoid(told["slope"]),
    )

    def spikes(w: Any, x: Any) -> Any:
        scaled = told["gain"] * w
        state = spiking.LIFState.initial((x.shape[1], w.shape[1]))
        if told["folded"]:
            return jax.lax.scan(step, state, x @ scaled)[1]
        return jax.lax.scan(lambda s, x: step(s, x @ scaled), state, x)[1]

    def loss(w: Any, x: Any, weights: Any) -> Any:
        return jnp.sum(spikes(w, x) * weights)

    forward, both = jax.jit(spikes), jax.jit(jax.value_and_grad(loss))
    if told["way"] == "forward":
        return Built(lambda: forward(w, x), lambda: [forward(w, x)])
    return Built(lambda: both(w, x, weights), grads=lambda: [both(w, x, weights)[1]])


if __name__ == "__main__":
    serve(build)
