"""apical: a dense layer over all steps at once, then `spiking.lif` in a scan."""

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
        currents = x @ (told["gain"] * w)
        state = spiking.LIFState.initial(currents.shape[1:])
        return jax.lax.scan(step, state, currents)[1]

    def loss(w: Any, x: Any, weights: Any) -> Any:
        return jnp.sum(spikes(w, x) * weights)

    forward, both = jax.jit(spikes), jax.jit(jax.value_and_grad(loss))
    if told["way"] == "forward":
        return Built(lambda: forward(w, x), lambda: [forward(w, x)])
    return Built(lambda: both(w, x, weights), grads=lambda: [both(w, x, weights)[1]])


if __name__ == "__main__":
    serve(build)
