"""Rules made by breaking backpropagation, and a problem for them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from apical.rules import RTRL, Backpropagation, EProp, Rule, rule


def array(*shape: int) -> jax.Array:
    draw = np.random.default_rng(shape)
    return jnp.asarray(draw.normal(size=shape), jnp.float32)


def loss_fn(params: Any, x: jax.Array) -> jax.Array:
    return jnp.mean((jnp.tanh(x @ params["a"]) @ params["b"]) ** 2)


def problem() -> dict[str, Any]:
    params = {"a": array(3, 4), "b": array(4, 2)}
    return {"loss_fn": loss_fn, "params": params, "args": (array(5, 3),)}


TRUE = Backpropagation.credit


def broken(**parts: Any) -> Rule:
    """Backpropagation with other methods or attributes."""
    return rule(type("Broken", (Backpropagation,), parts))()


def grads_changed(change: Any) -> Any:
    def credit(self, circuit, params, state, args):
        found = TRUE(self, circuit, params, state, args)
        return found._replace(grads=change(found.grads))

    return credit


def signals_changed(change: Any) -> dict[str, Any]:
    def signals(self, *args):
        found = Backpropagation.signals(self, *args)
        return {n: s._replace(teaching=change(s.teaching)) for n, s in found.items()}

    return {"signals": signals}


# ---- Rules through time that are something else than they say.


def through_time(**parts: Any) -> Rule:
    """Backpropagation in the place of a rule through time."""
    return broken(**{"through_time": True, "passes": "nothing", **parts})


@rule
class Exact(RTRL):
    """The gradient of backpropagation through time, said to be something less."""

    passes = "own"


@rule
class Louder(RTRL):
    """The gradient, times a number."""

    def credit(self, circuit, params, state, args):
        found = super().credit(circuit, params, state, args)
        return found._replace(grads=jax.tree.map(lambda g: 1.1 * g, found.grads))


@rule
class CutOff(Backpropagation):
    """Backpropagation that is cut off at each step, of `check_rule`'s own sequence."""

    through_time = True
    passes = "nothing"

    def credit(self, circuit, params, state, args):
        h, x, y = args
        grads = []
        for t in range(len(x)):
            here = params, h, x[t : t + 1], y[t : t + 1]
            gradient, aux = jax.grad(circuit.loss_fn, has_aux=True)(*here)
            grads.append(gradient)
            h = aux["h"]
        mean = jax.tree.map(lambda *g: sum(g) / len(x), *grads)
        return TRUE(self, circuit, params, state, args)._replace(grads=mean)


@rule
class Chunked(EProp):
    """E-prop that depends on the length of its chunks."""

    def credit(self, circuit, params, state, args):
        found = super().credit(circuit, params, state, args)
        scale = 1 + 0.1 * (self.chunk == 1)
        return found._replace(grads=jax.tree.map(lambda g: scale * g, found.grads))
