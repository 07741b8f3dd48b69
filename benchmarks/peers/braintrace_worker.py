"""braintrace: a cell of its own operations, compiled with one of its algorithms."""

from typing import Any

import brainstate
import braintrace
import jax
import jax.numpy as jnp
from _problem import Problem
from _worker import Built, serve


class Cell(brainstate.nn.Module):
    """A recurrent layer and a read-out that is not learned."""

    def __init__(self, problem: Problem) -> None:
        """With the weights of a problem."""
        super().__init__()
        *gates, out = problem.weights
        self.out = jnp.asarray(out)
        for i, (w, b) in enumerate(zip(gates, problem.biases, strict=False)):
            linear = braintrace.nn.Linear(
                *w.shape, w_init=jnp.asarray(w), b_init=jnp.asarray(b)
            )
            setattr(self, f"gate{i}", linear)

    def init_state(self, batch_size: int, **_: Any) -> None:
        """Zeros."""
        self.h = brainstate.HiddenState(jnp.zeros((batch_size, len(self.out))))

    def reset_state(self, *_: Any, **__: Any) -> None:
        """Zeros again."""
        self.h.value = jnp.zeros_like(self.h.value)


class LeakyRate(Cell):
    """`h' = 0.75 h + 0.25 tanh(W [x, h] + b)`."""

    def update(self, x: Any) -> Any:
        """One step: what the read-out says."""
        h = self.h.value
        drive = self.gate0(jnp.concatenate([x, h], -1))
        self.h.value = 0.75 * h + 0.25 * jnp.tanh(drive)
        return self.h.value @ self.out


class GRU(Cell):
    """Gates z, r and the new state, each of `[x, h]` or `[x, r h]`."""

    def update(self, x: Any) -> Any:
        """One step: what the read-out says."""
        h = self.h.value
        both = jnp.concatenate([x, h], -1)
        z, r = jax.nn.sigmoid(self.gate0(both)), jax.nn.sigmoid(self.gate1(both))
        new = jnp.tanh(self.gate2(jnp.concatenate([x, r * h], -1)))
        self.h.value = (1 - z) * h + z * new
        return self.h.value @ self.out


def build(problem: Problem, told: dict[str, Any]) -> Built:
    """The gradients of the weights and biases of each gate, by turns."""
    kinds = {"leaky rate": LeakyRate, "gru": GRU}
    cell, (x, y) = kinds[told["cell"]](problem), problem.args
    algorithm = getattr(braintrace, told["algorithm"])
    options = {"decay_or_rank": told["decay"]} if "decay" in told else {}
    learner = braintrace.compile(
        cell, algorithm, x[0], batch_size=x.shape[1], **options
    )

    def step_loss(x: Any, y: Any) -> Any:
        return jnp.mean((learner(x) - y) ** 2)

    @brainstate.transform.jit
    def gradients(x: Any, y: Any) -> Any:
        cell.reset_state()
        learner.reset_state(x.shape[1])
        return learner.etrace_grad(x, y, step_fn=step_loss)

    def grads() -> list[Any]:
        found = {path[0]: tree for path, tree in gradients(x, y).items()}
        every = [found[name] for name in sorted(found)]
        return [each[name] for each in every for name in ("weight", "bias")]

    return Built(lambda: gradients(x, y), grads=grads)


if __name__ == "__main__":
    serve(build)
