"""A hand-written second weight: a reference for rules with feedback weights.

A model's synapses are `dot(x, name, params)`: `plain` is the model, `by_feedback` the
same with a second weight on the way back, at each synapse, by hand.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import apical
from apical.rules import FeedbackAlignment
from support.by_hand import distance

KEY = jax.random.key(0)


def array(*shape: int, seed: int = 0) -> jax.Array:
    draw = np.random.default_rng((seed, *shape))
    return jnp.asarray(draw.normal(size=shape) / shape[0] ** 0.5, jnp.float32)


def squared(out: jax.Array, y: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum((out - y) ** 2) / len(y)


def credit(loss_fn: Any, rule: Any, params: Any, *args: Any, **keywords: Any) -> Any:
    """Return the credit of one call, compiled, and the state it started from."""
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    state = learner.init(KEY, params, *args)
    return jax.jit(learner)(params, state, *args), state


def fed_back(loss_fn: Any, params: Any, *args: Any, **options: Any) -> tuple[Any, Any]:
    """Return the gradients of feedback alignment, and its feedback weights."""
    found, state = credit(loss_fn, FeedbackAlignment(**options), params, *args)
    return found.grads, state.feedback


def through(x: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
    """Return x @ w, whose derivative by x goes through b."""
    still = jax.lax.stop_gradient
    return still(x @ w) + (x - still(x)) @ still(b) + still(x) @ (w - still(w))


def differ(actual: Any, expected: Any) -> bool:
    return distance(actual, expected) > 0.02


def plain(x: jax.Array, name: str, params: Any) -> jax.Array:
    return x @ params[name]


def by_feedback(copies: Any) -> Any:
    return lambda x, name, params: through(x, params[name], copies[name])


DATA = array(4, 5), array(4, 3)
