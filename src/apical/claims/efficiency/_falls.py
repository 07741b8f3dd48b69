"""How far the loss of an example falls by the best step along a rule's answer to it.

    fall = max over eta of E[L_x(w) - L_x(w - eta g_x)]

with g_x the rule's gradient of the hidden weights for the example x, one eta for all,
and the mean over examples and over the rule's own noise. For a quadratic loss with
curvature H and true gradient b it is E<b, g>^2 / (2 E<g, H g>): bias shrinks the
numerator, variance enlarges the denominator.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import apical
from apical import rules

LENGTHS = tuple(np.geomspace(1e-4, 100.0, 19).tolist())  # of a step, in weights
BATCH, RATE = 32, 1e-3
READOUT = "readout"

Params = dict[str, Array]


def network(params: Params, x: Array) -> Array:
    """The logits of two tanh layers without biases."""
    h = jnp.tanh(jnp.tanh(x @ params["first"]) @ params["second"])
    return h @ params[READOUT]


def loss_fn(params: Params, x: Array, y: Array) -> Array:
    """The cross-entropy."""
    found = network(params, x)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(found, y))


def initial_weights(key: Array, inputs: int, width: int, classes: int) -> Params:
    """Normal weights with variance 1 / (number of inputs)."""
    sizes = {
        "first": (inputs, width),
        "second": (width, width),
        READOUT: (width, classes),
    }
    keys = jax.random.split(key, len(sizes))
    return {
        name: jax.random.normal(k, size) / size[0] ** 0.5
        for k, (name, size) in zip(keys, sizes.items(), strict=True)
    }


class Draws(NamedTuple):
    """A rule's gradients for single examples, and backpropagation's for the same.

    Attributes:
        rows: which examples, `[draws]`.
        ours: each leaf `[draws, ...]`; that of the readout is 0.
        again: the same for the same examples, with new noise of the rule.
        theirs: backpropagation's.
    """

    rows: Array
    ours: Params
    again: Params
    theirs: Params


def gradients(rule: rules.Rule, data: Any, at: Any, key: Array, draws: int) -> Draws:
    """The rule's answers to examples drawn at random, at these weights.

    Args:
        rule: any rule.
        data: examples and labels.
        at: weights, and the state of the rule.
        key: draws the examples.
        draws: how many.
    """
    x, y = data
    params, state = at
    learner = apical.value_and_grad(loss_fn, rule)
    rows = jax.random.randint(key, (draws,), 0, len(x))

    def one(state: Any, row: Array) -> tuple[Any, tuple[Params, ...]]:
        example = x[row][None], y[row][None]
        first = learner(params, state, *example)
        second = learner(params, first.state, *example)
        exact = jax.grad(loss_fn)(params, *example)
        found = first.grads, second.grads, exact
        return second.state, tuple(map(_hidden, found))

    _, found = jax.lax.scan(one, state, rows)
    return Draws(rows, *found)


def _hidden(grads: Params) -> Params:
    return grads | {READOUT: jnp.zeros_like(grads[READOUT])}


def familiar(
    rule: rules.Rule, data: Any, params: Params, key: Array, steps: int
) -> Any:
    """Weights and state after training by the rule itself (Adam).

    Rules with feedback weights of their own do not agree with the forward weights
    before.
    """
    x, y = data
    step = apical.train_step(loss_fn, rule, optax.adam(RATE))
    first, later = jax.random.split(key)
    state = step.init(first, params, x[:BATCH], y[:BATCH])

    def update(at: Any, key: Array) -> tuple[Any, None]:
        rows = jax.random.randint(key, (BATCH,), 0, len(x))
        params, state, _ = step(*at, x[rows], y[rows])
        return (params, state), None

    (params, state), _ = jax.lax.scan(
        update, (params, state), jax.random.split(later, steps)
    )
    return params, state.rule


def falls(params: Params, grads: Params, examples: Any) -> Array:
    """The mean fall of each example's loss by steps of each length, `[lengths]`.

    A length is that of a step along a gradient of root mean square size.

    Args:
        params: the weights.
        grads: each leaf `[draws, ...]`.
        examples: those that the gradients answer, and their labels, `[draws, ...]`.
    """
    size = jnp.sqrt(jnp.mean(jax.vmap(_square)(grads)))

    def mean_fall(length: Array) -> Array:
        eta = length / jnp.where(size > 0, size, 1)

        def one(drawn: tuple[Params, Array, Array]) -> Array:
            grad, x, y = drawn
            moved = jax.tree.map(lambda w, g: w - eta * g, params, grad)
            example = x[None], y[None]
            return loss_fn(params, *example) - loss_fn(moved, *example)

        return jnp.mean(jax.lax.map(one, (grads, *examples), batch_size=16))

    return jax.lax.map(mean_fall, jnp.asarray(LENGTHS))


def bias_and_variance(draws: Draws) -> dict[str, Array]:
    """How a rule's gradients differ from backpropagation's for the same examples.

        along    a = E<g, b> / E|b|^2                    1: of the right size
        bias     (E<g, g'> - a^2 E|b|^2) / a^2 E|b|^2    across b, the same every time
        variance (E|g|^2 - E<g, g'>) / a^2 E|b|^2        of the rule's own noise

    with g and g' two answers to one example.

    Returns:
        These three, and `cosine`, the mean of the cosines of g and b.
    """
    pairs = jax.vmap(_product)
    length = pairs(draws.theirs, draws.theirs).mean()
    mean = (pairs(draws.ours, draws.theirs) + pairs(draws.again, draws.theirs)).mean()
    along = mean / 2 / length
    square = (pairs(draws.ours, draws.ours) + pairs(draws.again, draws.again)).mean()
    same, unit = pairs(draws.ours, draws.again).mean(), along**2 * length
    return {
        "along": along,
        "bias": same / unit - 1,
        "variance": (square / 2 - same) / unit,
        "cosine": jax.vmap(_cosine)(draws.ours, draws.theirs).mean(),
    }


def _product(one: Params, other: Params) -> Array:
    return sum((jnp.sum(one[k] * other[k]) for k in one), jnp.zeros(()))


def _square(grad: Params) -> Array:
    return _product(grad, grad)


def _cosine(one: Params, other: Params) -> Array:
    size = jnp.sqrt(_square(one) * _square(other))
    return _product(one, other) / jnp.where(size > 0, size, 1)
