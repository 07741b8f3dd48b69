"""jaxsnn, by its own layers: EventProp in a scan over a fixed number of events."""

from typing import Any

import jax
import jax.numpy as jnp
from _problem import Problem
from _worker import Built, serve
from jaxsnn.event.loss import first_spike
from jaxsnn.event.modules import LIF, LIFParameters, Linear, Source
from jaxsnn.event.topology import Topology
from jaxsnn.event.types import Spike


def build(problem: Problem, told: dict[str, Any]) -> Built:
    """The first spikes of the last layer, and the gradient of their weighted sum."""
    cell = LIFParameters(
        v_reset=0.0, v_th=1.0, tau_syn=told["tau_s"], tau_mem=told["tau_m"]
    )
    (inputs, hidden), (_, outputs) = (w.shape for w in problem.weights)
    made = Topology(t_max=told["until"], backprop_method="eventprop")
    made.add(
        {
            "input": Source(inputs),
            "hidden": LIF(hidden, told["events"][0], cell),
            "output": LIF(outputs, told["events"][1], cell),
            "first": Linear(pre_weights=problem.weights[0]),
            "second": Linear(pre_weights=problem.weights[1]),
        }
    )
    made.connect(
        [
            ("input", "first"),
            ("first", "hidden"),
            ("hidden", "second"),
            ("second", "output"),
        ]
    )
    init, apply = made.done()
    weights = init(jax.random.PRNGKey(0))
    order = problem.x.argsort(axis=1)
    spikes = Spike(
        time=jnp.take_along_axis(jnp.asarray(problem.x), jnp.asarray(order), 1),
        idx=jnp.asarray(order),
        current=jnp.zeros(order.shape),
        layer_idx=jnp.zeros(order.shape, int),
        internal=jnp.ones(order.shape, bool),
    )
    y = jnp.asarray(problem.y)

    def loss(weights: Any) -> Any:
        events = apply({"input": spikes}, weights)
        times = jax.vmap(first_spike, (0, None))(events["output"], outputs)
        return jnp.mean(jnp.sum(times * y, axis=1)), times

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))

    def call() -> Any:
        return step(weights)

    def grads() -> list[Any]:
        found = call()[1]
        return [found["first"], found["second"]]

    return Built(call, lambda: [call()[0][1]], grads)


if __name__ == "__main__":
    serve(build)
