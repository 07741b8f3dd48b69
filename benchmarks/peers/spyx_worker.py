"""spyx: `nnx.Linear` and `snn.LIF`, run by `spyx.nn.run`.

Its neurons spike from the potential before the current of the step is added: a step
later than all others. So it is given one step more.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import spyx
import spyx.nn as snn
from _problem import Problem
from _worker import Built, serve
from flax import nnx


def build(problem: Problem, told: dict[str, Any]) -> Built:
    """The gradient of a sum of the spikes, or the spikes alone."""
    (w,) = problem.weights
    linear = nnx.Linear(*w.shape, use_bias=False, rngs=nnx.Rngs(0))
    linear.kernel[...] = jnp.asarray(w)
    spike = spyx.axn.superspike(told["slope"])
    lif = snn.LIF((w.shape[1],), told["decay"], 1.0, spike, rngs=nnx.Rngs(0))
    # A decay that is not learned, as everywhere else.
    lif.beta = nnx.Variable(lif.beta[...])
    folded = told["folded"]
    model = (linear, lif) if folded else snn.Sequential(linear, lif)
    x, weights = (_with(problem.x, last=True), _with(problem.y, last=False))

    def spikes(model: Any, x: Any) -> Any:
        if folded:
            dense, neurons = model
            return snn.run(neurons, dense(x))[0]
        return snn.run(model, x)[0]

    graph, learned, rest = nnx.split(model, nnx.Param, ...)

    def loss(learned: Any, rest: Any, x: Any, weights: Any) -> Any:
        return jnp.sum(spikes(nnx.merge(graph, learned, rest), x) * weights)

    def forward_of(learned: Any, rest: Any, x: Any) -> Any:
        return spikes(nnx.merge(graph, learned, rest), x)

    forward, both = jax.jit(forward_of), jax.jit(jax.value_and_grad(loss))
    if told["way"] == "forward":
        return Built(
            lambda: forward(learned, rest, x),
            lambda: [forward(learned, rest, x)[1:]],
        )
    return Built(
        lambda: both(learned, rest, x, weights),
        grads=lambda: jax.tree.leaves(both(learned, rest, x, weights)[1]),
    )


def _with(array: np.ndarray, last: bool) -> Any:
    """With a step of zeros at the end, or at the beginning."""
    pad = ((0, 1) if last else (1, 0), (0, 0), (0, 0))
    return jnp.asarray(np.pad(array, pad))


if __name__ == "__main__":
    serve(build)
