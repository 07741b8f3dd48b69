"""The angle between an update and backpropagation's, before and after learning."""

import jax
import optax

import apical
from support.by_hand import batch, layers, loss_fn, network


def losses_and_cosines(rule, steps):
    """Train a student of a random network.

    Returns the losses, and the cosine of the first layer's update to backpropagation's
    gradient before the first step and after the last.
    """
    params, (x, _) = layers(6, 12, 8, 3), batch(30, 6, 3)
    data = x, 3 * network(layers(6, 12, 8, 3, seed=5), x)
    trainer = apical.train_step(loss_fn, rule, optax.sgd(0.05))
    measure = apical.measure.alignment(trainer.learner)

    def step(carry, _):
        params, state, credit = trainer(*carry, *data)
        return (params, state), credit.value

    start = params, trainer.init(jax.random.key(0), params, *data)
    end, losses = jax.lax.scan(step, start, length=steps)
    cosines = [
        measure(params, state.rule, *data).leaves["0.w"].cosine
        for params, state in (start, end)
    ]
    return losses, cosines
