"""A network, a state and a call for the tests of target propagation."""

import jax
import jax.numpy as jnp
import optax

import apical
from apical.rules import DifferenceTargetPropagation, TargetPropagation
from support.by_hand import batch, layers, loss_fn

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(4, 5, 3)
STEP = 0.3
SGD = optax.sgd(0.1)
DIFFERENCE = DifferenceTargetPropagation(STEP, training=None)
PLAIN = TargetPropagation(STEP, training=None)


def learner_of(rule, loss_fn=loss_fn, **keywords):
    return apical.value_and_grad(loss_fn, rule, **keywords)


def drawn(rule, params=PARAMS, loss_fn=loss_fn, data=DATA, **keywords):
    """A state with a shift that is not zero."""
    state = learner_of(rule, loss_fn, **keywords).init(KEY, params, *data)
    shift = jax.tree.map(lambda c: c + 0.1 * jnp.arange(c.size), state.weights.shift)
    return state._replace(weights=state.weights._replace(shift=shift))


def credit_of(rule, state, params=PARAMS, loss_fn=loss_fn, data=DATA, **keywords):
    return jax.jit(learner_of(rule, loss_fn, **keywords))(params, state, *data)


def teaching(rule, state, params, loss_fn, data):
    """The teaching signal at each node."""
    found = jax.jit(apical.value_and_grad(loss_fn, rule).signals)(params, state, *data)
    return {n: s.teaching for n, s in found.items()}
