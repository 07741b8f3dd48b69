"""apical: a cell as a plain function in `lax.scan`, and a rule through time."""

from typing import Any

import jax
import jax.numpy as jnp
from _problem import Problem
from _worker import Built, serve

import apical
from apical import rules


def leaky_rate(gate: Any, h: Any, x: Any) -> Any:
    """`h' = 0.75 h + 0.25 tanh(W [x, h] + b)`."""
    return 0.75 * h + 0.25 * jnp.tanh(gate(0, x, h))


def gru(gate: Any, h: Any, x: Any) -> Any:
    """Gates z, r and the new state, each of `[x, h]` or `[x, r h]`."""
    z, r = jax.nn.sigmoid(gate(0, x, h)), jax.nn.sigmoid(gate(1, x, h))
    return (1 - z) * h + z * jnp.tanh(gate(2, x, r * h))


CELLS = {"leaky rate": leaky_rate, "gru": gru}


def build(problem: Problem, told: dict[str, Any]) -> Built:
    """The gradients of the weights and biases of each gate, by turns."""
    *gates, (out, _) = problem.params
    cell, chunk = CELLS[told["cell"]], told["chunk"]

    def loss_fn(gates: Any, x: Any, y: Any) -> Any:
        def gate(i: int, *read: Any) -> Any:
            weight, bias = gates[i]
            return jnp.concatenate(read, -1) @ weight + bias

        def step(h: Any, x: Any) -> Any:
            h = cell(gate, h, x)
            return h, h @ out

        start = jnp.zeros((x.shape[1], len(out)))
        return jnp.mean((jax.lax.scan(step, start, x)[1] - y) ** 2)

    if "decay" in told:
        rule: rules.Rule = rules.EfficientTraces(chunk=chunk, decay=told["decay"])
    else:
        rule = rules.EProp(chunk=chunk)
    learner = apical.value_and_grad(loss_fn, rule, batch_axes=1)
    state = learner.init(jax.random.key(0), gates, *problem.args)
    step = jax.jit(lambda gates, *args: learner(gates, state, *args).grads)

    def call() -> Any:
        return step(gates, *problem.args)

    return Built(call, grads=lambda: [leaf for pair in call() for leaf in pair])


if __name__ == "__main__":
    serve(build)
