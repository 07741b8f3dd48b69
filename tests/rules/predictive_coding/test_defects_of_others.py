"""Defects known from other libraries of predictive coding are absent here.

| defect                                                   | tested in                |
|----------------------------------------------------------|--------------------------|
| rates depend on the batch (an energy averaged over it)   | test_fixed_prediction    |
| a precision for the output alone                         | test_parts               |
| stopping that never fires                                | test_inference           |
| incremental learning that crashes                        | this file                |
| steps twice as large as documented                       | every test by hand       |
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, distance

import apical
from apical.rules import IncrementalPredictiveCoding, PredictiveCoding

KEYS = jax.random.split(jax.random.key(0), 6)
X, Y = jax.random.normal(KEYS[0], (4, 3)), jax.random.normal(KEYS[1], (4, 3))
TIED = {
    "in": jax.random.normal(KEYS[2], (3, 5)),
    "shared": jax.random.normal(KEYS[3], (5, 5)) / 2,
    "out": jax.random.normal(KEYS[4], (5, 3)),
}


def tied(params, x, y):
    """One layer used twice."""
    h = jnp.tanh(x @ params["in"])
    for _ in range(2):
        h = jnp.tanh(h @ params["shared"])
    return 0.5 * jnp.sum((h @ params["out"] - y) ** 2) / len(x)


def untied(params, x, y):
    h = jnp.tanh(x @ params["in"])
    for name in ("one", "two"):
        h = jnp.tanh(h @ params[name])
    return 0.5 * jnp.sum((h @ params["out"] - y) ** 2) / len(x)


def credit_of(loss_fn, params, rule, *args):
    return jax.jit(apical.value_and_grad(loss_fn, rule))(params, (), *args)


@pytest.mark.parametrize("prediction", ["fixed", "free"])
def test_a_layer_that_is_used_twice_counts_once_in_the_energy_and_twice_in_its_gradient(
    prediction,
):
    """PCX counts the energy of a shared module twice."""
    rule = PredictiveCoding(6, 0.2, prediction)
    apart = {"in": TIED["in"], "out": TIED["out"]}
    apart |= dict.fromkeys(("one", "two"), TIED["shared"])
    once, twice = (
        credit_of(*given, rule, X, Y) for given in ((untied, apart), (tied, TIED))
    )
    assert len(twice.info.energy) == len(once.info.energy) == 3
    energies = [sorted(map(float, c.info.energy.values())) for c in (once, twice)]
    assert_close(*map(np.array, energies))
    both = once.grads["one"] + once.grads["two"]
    assert_close(twice.grads["shared"], both)
    assert distance(once.grads["one"], both) > 0.1


def equations(jaxpr):
    """How many operations a program has, those of its loops once."""
    inner = [
        sub
        for eqn in jaxpr.eqns
        for value in eqn.params.values()
        for sub in (value if isinstance(value, (list, tuple)) else [value])
        if hasattr(getattr(sub, "jaxpr", sub), "eqns")
    ]
    found = (equations(getattr(sub, "jaxpr", sub)) for sub in inner)
    return len(jaxpr.eqns) + sum(found)


@pytest.mark.parametrize(
    "rule_of",
    [
        lambda steps: PredictiveCoding(steps, prediction="free"),
        lambda steps: PredictiveCoding(steps, 0.5, inference=optax.sgd(0.5)),
        lambda steps: PredictiveCoding(steps, 0.1),
    ],
    ids=["free", "fixed", "closed form"],
)
def test_a_program_of_many_steps_is_no_longer_than_one_of_few(rule_of):
    """PCX writes every step out: 64 steps of 20 layers take it 19 s to compile."""

    def length(steps):
        learner = apical.value_and_grad(tied, rule_of(steps))
        return equations(jax.make_jaxpr(lambda p: learner(p, (), X, Y))(TIED).jaxpr)

    assert length(256) <= length(32)
    assert length(32) > 10


def test_no_value_of_an_inner_transformation_leaks():
    """PCX leaks tracers from `value_and_grad` into parameters."""
    rule = PredictiveCoding(3, prediction="free")
    learner = apical.value_and_grad(tied, rule)
    with jax.checking_leaks():
        first = jax.jit(learner)(TIED, (), X, Y)
        jax.vmap(lambda x: learner(TIED, (), x, Y).value)(jnp.stack([X, X]))
    assert_close(learner(TIED, (), X, Y).grads, first.grads)


def test_pooling_is_no_node_of_its_own():
    """FabricPC makes a node of it, which halves the accuracy that is reached."""

    def pooled(params, x, y):
        h = jnp.tanh(x @ params["in"]).reshape(len(x), 1, -1)
        h = jax.lax.reduce_window(
            h, -jnp.inf, jax.lax.max, (1, 1, 2), (1, 1, 2), "VALID"
        )
        return jnp.mean((h.reshape(len(x), -1) @ params["out"] - y) ** 2)

    params = {"in": jnp.ones((3, 6)), "out": jnp.ones((3, 3))}
    circuit = apical.trace(pooled)(params, X, Y)
    assert len(circuit.nodes) == 1
    assert circuit.nodes[0].shape[-1] == 3  # after the pooling


@pytest.mark.filterwarnings("ignore:With .* no signal:UserWarning")
def test_the_parameters_move_in_every_step_of_the_incremental_rule():
    """PRECO moves them by a gradient that is not recomputed."""
    step = apical.train_step(tied, IncrementalPredictiveCoding(2), optax.sgd(0.1))
    state = step.init(KEYS[5], TIED, X, Y)
    two, *_ = jax.jit(step)(TIED, state, X, Y)
    frozen = apical.value_and_grad(tied, PredictiveCoding(1, prediction="free"))
    grads = frozen(TIED, (), X, Y).grads
    same_twice = jax.tree.map(lambda w, g: w - 0.2 * g, TIED, grads)
    assert distance(two["out"], same_twice["out"]) > 1e-3


@pytest.mark.parametrize("prediction", ["fixed", "free"])
def test_data_of_one_example_with_no_batch_to_speak_of_work(prediction):
    """JPC wants two axes."""

    def single(params, x, y):
        h = jnp.tanh(x @ params["in"])
        return 0.5 * jnp.sum((h @ params["out"] - y) ** 2)

    rule = PredictiveCoding(5, 0.2, prediction)
    alone = apical.value_and_grad(single, rule, batch_axes=None)(TIED, (), X[0], Y[0])
    batched = apical.value_and_grad(single, rule)(TIED, (), X[:1], Y[:1])
    assert_close(alone.grads, batched.grads)
