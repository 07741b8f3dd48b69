"""Rules made by breaking backpropagation, and a problem for them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from apical.rules import Backpropagation, Rule, rule


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
