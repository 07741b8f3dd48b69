"""Derivatives that JAX can take in reverse alone, under rules that go forwards."""

import jax
import jax.numpy as jnp
import pytest

import apical
from apical.rules import (
    RTRL,
    EProp,
    Hebbian,
    PresynapticTrace,
    SnAp,
    TeachingSignal,
    ThreeFactor,
)

KEYS = jax.random.split(jax.random.key(0), 4)
PARAMS = {
    "in": jax.random.normal(KEYS[0], (4, 5)),
    "rec": jax.random.normal(KEYS[1], (5, 5)),
    "out": jax.random.normal(KEYS[2], (5, 2)),
}
X = jax.random.normal(KEYS[3], (6, 3, 4))


@jax.custom_vjp
def spike(v):
    return (v > 0).astype(v.dtype)


spike.defvjp(lambda v: (spike(v), v), lambda v, g: (g / (1 + 5 * jnp.abs(v)) ** 2,))


def loss_fn(params, x):
    def step(state, x):
        v, z = state
        v = 0.9 * v + x @ params["in"] + z @ params["rec"] - jax.lax.stop_gradient(z)
        z = spike(v - 1)
        return (v, z), z

    _, z = jax.lax.scan(step, (jnp.zeros((3, 5)),) * 2, x)
    return jnp.mean((z @ params["out"]) ** 2)


@pytest.mark.parametrize("rule", [RTRL(), SnAp(order=2)])
@pytest.mark.filterwarnings("ignore:.*is `RTRL` here")
def test_forward_rules_refuse_them_in_init(rule):
    learner = apical.value_and_grad(loss_fn, rule, batch_axes=1)
    with pytest.raises(ValueError, match=r"forward.*custom_vjp.*custom_jvp"):
        learner.init(KEYS[0], PARAMS, X)


def test_rules_with_traces_do_not():
    learner = apical.value_and_grad(loss_fn, EProp(), batch_axes=1)
    grads = jax.jit(learner)(PARAMS, learner.init(KEYS[0], PARAMS, X), X).grads
    assert all(jnp.any(g != 0) for g in grads.values())


@pytest.mark.parametrize("teacher", [EProp(), RTRL(), Hebbian()])
def test_a_teaching_signal_of_a_rule_that_has_none_is_refused_in_init(teacher):
    rule = ThreeFactor(
        PresynapticTrace(at_spikes=False),
        TeachingSignal(teacher),
        tau=0.0,
        synapses=("in", "rec"),
    )
    learner = apical.value_and_grad(loss_fn, rule, batch_axes=1)
    with pytest.raises(ValueError, match=r"TeachingSignal\(\w+\(...\)\)` has no"):
        learner.init(KEYS[0], PARAMS, X)
