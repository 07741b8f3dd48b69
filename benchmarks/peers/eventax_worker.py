"""eventax, by its own network: EventProp as the adjoint of an ODE solver."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from _problem import Problem
from _worker import Built, serve
from eventax.adjoint import EventPropAdjoint
from eventax.evnn import FFEvNN
from eventax.neuron_models import LIF


def build(problem: Problem, told: dict[str, Any]) -> Built:
    """The first spikes of the last layer, and the gradient of their weighted sum."""
    (inputs, hidden), (_, outputs) = (w.shape for w in problem.weights)
    n = hidden + outputs
    weights = jnp.zeros((n + inputs, n))
    weights = weights.at[n:, :hidden].set(problem.weights[0])
    weights = weights.at[:hidden, hidden:].set(problem.weights[1])
    net = FFEvNN(
        layers=[hidden, outputs],
        in_size=inputs,
        neuron_model=LIF,
        max_solver_time=told["until"],
        key=jax.random.PRNGKey(0),
        solver_stepsize=told["step"],
        max_event_steps=told["events"][0] + told["events"][1],
        adjoint=EventPropAdjoint(),
        thresh=1.0,
        tsyn=told["tau_s"],
        tmem=told["tau_m"],
        init_weights=weights,
        init_bias=0.0,
    )
    x, y = jnp.asarray(problem.x)[:, :, None], jnp.asarray(problem.y)

    def loss(net: Any) -> Any:
        times = jax.vmap(net.ttfs)(x)
        return jnp.mean(jnp.sum(times * y, axis=1)), times

    step = eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))

    def call() -> Any:
        return step(net)

    def grads() -> list[Any]:
        found = call()[1].neuron_model.weights
        return [found[n:, :hidden], found[:hidden, hidden:]]

    return Built(call, lambda: [call()[0][1]], grads)


if __name__ == "__main__":
    serve(build)
