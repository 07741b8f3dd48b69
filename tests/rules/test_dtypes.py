"""Dtypes: gradients have the types of the parameters.

Under x64, in 16 bits and with a type for each layer; and a batch larger than the
largest number of float16 gives finite updates wherever backpropagation does.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.short_rules import FREE, KEYS, RULES, target

import apical
from apical import rules

NUDGE = rules.Nudge(0.1)
MORE = [
    rules.PredictiveCoding(nudge=NUDGE),
    rules.PredictiveCoding(**FREE, nudge=NUDGE),
    rules.PredictiveCoding(inference=rules.Sweep()),
    rules.PredictiveCoding(**FREE, inference=rules.ZeroDivergence()),
    rules.PredictiveCoding(rate=0.5, steps=30),
    rules.PredictiveCoding(precision=0.5),
    rules.CoupledLearning(),
]
EVERY = [*RULES, *MORE]
IDS = [f"{i} {type(rule).__name__}" for i, rule in enumerate(EVERY)]
TYPES = {
    "x64": 3 * ["float32"],
    "float16": 3 * ["float16"],
    "bfloat16": 3 * ["bfloat16"],
    "mixed": ["float32", "float16", "bfloat16"],
    "doubles": ["float32", "float64", "float32"],
}


def loss_fn(w, x, y):
    h = jnp.tanh(x.astype(w["a"].dtype) @ w["a"]).astype(w["b"].dtype)
    h = jnp.tanh(h @ w["b"]).astype(w["c"].dtype)
    error = h @ w["c"] - y.astype(w["c"].dtype)
    return jnp.mean(jnp.sum(error**2, axis=1).astype(jnp.float32))


def problem(types, examples=6):
    shapes = {"a": (3, 4), "b": (4, 4), "c": (4, 2)}
    w = {
        name: (jax.random.normal(key, shape) / 2).astype(dtype)
        for (name, shape), key, dtype in zip(shapes.items(), KEYS, types, strict=False)
    }
    x = jax.random.normal(KEYS[3], (examples, 3), jnp.float32)
    label = jax.random.randint(KEYS[4], (examples,), 0, 2)
    return w, x, jax.nn.one_hot(label, 2, dtype=jnp.float32)


def learner_of(rule):
    return apical.value_and_grad(loss_fn, rule, target=target, input_argnums=0)


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("rule", EVERY, ids=IDS)
def test_gradients_have_the_types_of_the_parameters(rule, name):
    with jax.enable_x64(name in ("x64", "doubles")):
        w, x, y = problem(TYPES[name])
        learner = learner_of(rule)
        try:
            state = jax.eval_shape(learner.init, KEYS[5], w, x, y)
        except ValueError as error:
            assert "rounding hides them" in str(error)
            return
        credit = jax.eval_shape(learner, w, state, x, y)
        assert {n: g.dtype for n, g in credit.grads.items()} == {
            n: v.dtype for n, v in w.items()
        }
        assert credit.value.dtype == jnp.float32
        before, after = jax.tree.leaves(state), jax.tree.leaves(credit.state)
        assert [s.dtype for s in after] == [s.dtype for s in before]


COUPLED = [rules.KolenPollack(), rules.IncrementalPredictiveCoding()]


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("rule", COUPLED, ids=["Kolen-Pollack", "incremental"])
def test_training_steps_keep_the_types_of_the_parameters(rule, name):
    with jax.enable_x64(name in ("x64", "doubles")):
        w, x, y = problem(TYPES[name])
        step = apical.train_step(loss_fn, rule, optax.sgd(0.1))
        state = jax.eval_shape(step.init, KEYS[5], w, x, y)
        moved, after, _ = jax.eval_shape(step, w, state, x, y)
        assert [v.dtype for v in moved.values()] == [v.dtype for v in w.values()]
        pairs = zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True)
        assert all(a.dtype == b.dtype for a, b in pairs)


# Each rescales to the error of an example in a different way.
LARGE = [
    rules.PredictiveCoding(),
    rules.PredictiveCoding(**FREE),
    rules.PredictiveCoding(inference=rules.Sweep()),
    rules.PredictiveCoding(**FREE, inference=rules.ErrorRelaxation()),
    rules.PredictiveCoding(rate=0.5, steps=30),
    rules.ActivationRelaxation(),
    rules.EquilibriumPropagation(free_steps=3, nudged_steps=3),
    rules.DualPropagation(),
    rules.PEPITA(),
    rules.LocalLosses(objective="both"),
    rules.DirectFeedbackAlignment(error="sign"),
    rules.DirectRandomTargetProjection(),
    rules.DifferenceTargetPropagation(),
    rules.SyntheticGradients(),
]


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("rule", LARGE, ids=[repr(r)[:40] for r in LARGE])
def test_a_batch_of_more_examples_than_float16_counts_teaches_finite_numbers(rule):
    w, x, y = problem(TYPES["float16"], 70_000)
    learner = learner_of(rule)
    state = learner.init(KEYS[5], w, x, y)
    for leaf, g in jax.jit(learner)(w, state, x, y).grads.items():
        assert np.all(np.isfinite(g.astype(jnp.float32))), leaf


@pytest.mark.parametrize("inference", [None, rules.Sweep()])
def test_a_loss_scale_beyond_float16_is_that_of_backpropagation(inference):
    """As in mixed precision: the loss is in 32 bits, what is below it in 16."""

    def scaled(w, x, y):
        return 65_536 * loss_fn(w, x, y)

    w, x, y = problem(TYPES["float16"], 512)
    rule = rules.PredictiveCoding(inference=inference)
    learner = apical.value_and_grad(scaled, rule)
    grads = learner(w, learner.init(KEYS[5], w, x, y), x, y).grads
    for leaf, true in jax.grad(scaled)(w, x, y).items():
        assert np.all(np.isfinite(true))
        off = grads[leaf].astype(jnp.float32) - true.astype(jnp.float32)
        assert jnp.max(jnp.abs(off)) < 0.05 * jnp.max(jnp.abs(true))
