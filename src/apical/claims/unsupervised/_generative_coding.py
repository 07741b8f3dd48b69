"""A generative network whose causes predictive coding infers, to complete images.

    u -> h = tanh(u A) -> x,      loss = -log p(x | h) of what is seen + |u|^2 / 2

Inference moves the causes u and the values of h down the energy; the causes then
predict the pixels that are not seen.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

import apical
from apical import rules
from apical.claims.unsupervised._autoencoders import affine, layer

CAUSES, HIDDEN = 16, 64
PLAIN, ERRORS = "steps of values", "steps of errors"
# Weighted layers in sequence in one step: all values at once predict and are pulled;
# the errors pass through both layers, and back.
PER_STEP = {PLAIN: 2, ERRORS: 4}
LAYERS = 2
Params = dict[str, Any]


def initial(key: jax.Array, pixels: int) -> Params:
    """Initial parameters."""
    first, second = jax.random.split(key)
    return {"h": layer(first, CAUSES, HIDDEN), "x": layer(second, HIDDEN, pixels)}


def generated(params: Params, causes: jax.Array) -> jax.Array:
    """The logits of the pixels."""
    return affine(params["x"], jnp.tanh(affine(params["h"], causes)))


def loss_fn(
    params: Params, causes: jax.Array, x: jax.Array, seen: jax.Array
) -> jax.Array:
    """Minus log p(u) p(x | u) of the pixels that are seen, mean of the images."""
    h = apical.node(jnp.tanh(affine(params["h"], causes)), "h")
    each = optax.sigmoid_binary_cross_entropy(affine(params["x"], h), x)
    prior = jnp.sum(causes**2, axis=-1) / 2
    return jnp.mean(jnp.sum(seen * each, axis=-1) + prior)


def coding(steps: int, kind: str = PLAIN) -> rules.PredictiveCoding:
    """Predictive coding with free causes, for so many steps of inference."""
    inference = rules.ErrorRelaxation() if kind == ERRORS else None
    return rules.PredictiveCoding(
        steps, prediction="free", inference=inference, free=(True, False, False)
    )


def completed(
    params: Params, x: jax.Array, seen: jax.Array, steps: int, kind: str = PLAIN
) -> jax.Array:
    """The logits of all pixels, from causes inferred from those that are seen."""
    learner = apical.value_and_grad(loss_fn, coding(steps, kind))
    given = jnp.zeros((len(x), CAUSES)), x, seen
    state = learner.init(jax.random.key(0), params, *given)
    causes = learner.predict(params, state, *given)[0]
    return generated(params, causes)
