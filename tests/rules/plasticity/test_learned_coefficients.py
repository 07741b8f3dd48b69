"""Plasticity with coefficients: its teacher's update, sums by hand, and laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from support.check_on import check_on
from support.synapses_in_time import numbers

import apical
from apical.rules import (
    Backpropagation,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    Hebbian,
    Plasticity,
    PredictiveCoding,
)

pytestmark = pytest.mark.grid(keep=3)

TAUGHT = {(1, 0, 0, 1): 1.0}
OJA = {(1, 1, 0, 0): 1.0, (0, 2, 1, 0): -1.0}
ROUNDING = {"rtol": 1e-5, "atol": 1e-6}


PARAMS = {
    "a": 0.4 * numbers(1, 5, 4),
    "bias": 0.1 * numbers(2, 4),
    "b": numbers(3, 4, 3),
    "c": numbers(4, 3, 2),
}
DATA = numbers(5, 7, 5), numbers(6, 7, 2)


def loss_fn(params, x, y):
    h = jnp.tanh(x @ params["a"] + params["bias"])
    h = jnp.tanh(h @ params["b"])
    return jnp.mean(jnp.sum((h @ params["c"] - y) ** 2, -1))


def credit_of(rule, loss_fn=loss_fn, params=PARAMS, args=DATA, **told):
    learner = apical.value_and_grad(loss_fn, rule, **told)
    state = learner.init(jax.random.key(0), params, *args)
    return jax.jit(learner)(params, state, *args)


def close(found, expected):
    pairs = zip(*map(jax.tree.leaves, (found, expected)), strict=True)
    return all(np.allclose(a, b, **ROUNDING) for a, b in pairs)


# ------------------------------------------------------------ the teacher's own update


def convolved(params, x, y):
    h = jax.lax.conv_general_dilated(
        x, params["k"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    h = jax.nn.relu(h + params["bias"]).mean((1, 2))
    return jnp.mean((jnp.tanh(h @ params["a"]) @ params["b"] - y) ** 2)


def recurrent(params, x, y):
    xs = jnp.swapaxes(x, 0, 1)

    def step(h, x):
        h = jnp.tanh(x @ params["a"] + h @ params["b"])
        return h, h

    h, _ = jax.lax.scan(step, jnp.zeros((xs.shape[1], 4)), xs)
    return jnp.mean((h @ params["c"] - y) ** 2)


def residual(params, x, y):
    h = x @ params["a"]
    h = h + jnp.tanh(h @ params["b"])
    h = h / jnp.sqrt(1 + jnp.mean(h**2, -1, keepdims=True))
    return jnp.mean((h @ params["c"] - y) ** 2)


SQUARE = {
    "a": 0.4 * numbers(1, 5, 4),
    "b": 0.5 * numbers(2, 4, 4),
    "c": numbers(3, 4, 2),
}
PROBLEMS = {
    "dense": (loss_fn, PARAMS, DATA),
    "convolution": (
        convolved,
        {
            "k": 0.4 * numbers(1, 3, 3, 2, 4),
            "bias": 0.1 * numbers(2, 4),
            "a": numbers(3, 4, 3),
            "b": numbers(4, 3, 2),
        },
        (numbers(5, 3, 5, 5, 2), numbers(6, 3, 2)),
    ),
    "recurrent": (
        recurrent,
        {
            "a": 0.4 * numbers(1, 5, 4),
            "b": 0.5 * numbers(2, 4, 4),
            "c": numbers(3, 4, 2),
        },
        (numbers(5, 7, 3, 5), numbers(6, 7, 2)),
    ),
    "residual": (
        residual,
        {
            "a": 0.4 * numbers(1, 5, 4),
            "b": 0.5 * numbers(2, 4, 4),
            "c": numbers(3, 4, 2),
        },
        DATA,
    ),
}
TEACHERS = {
    "backpropagation": Backpropagation(),
    "feedback alignment": FeedbackAlignment(),
    "direct feedback": DirectFeedbackAlignment(),
    "predictive coding": PredictiveCoding(),
}


@pytest.mark.parametrize("teacher", TEACHERS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_single_coefficient_is_the_update_of_the_teacher(problem, teacher):
    loss, params, args = PROBLEMS[problem]
    rule = TEACHERS[teacher]
    post = "output" if problem == "convolution" else "node"
    expected = credit_of(rule, loss, params, args)
    found = credit_of(Plasticity(TAUGHT, rule, post=post), loss, params, args)
    assert close(found.grads, expected.grads)
    assert close((found.value, found.state), (expected.value, expected.state))
    less = credit_of(
        Plasticity({(1, 0, 0, 1): 0.9}, rule, post=post), loss, params, args
    )
    assert not close(less.grads, expected.grads)


def test_a_sum_over_examples_is_the_teachers_too():
    def total(params, x, y):
        return 7 * loss_fn(params, x, y)

    told = {"loss_fn": total, "reduction": "sum"}
    rule = Plasticity(TAUGHT, Backpropagation())
    assert close(credit_of(rule, **told).grads, jax.grad(total)(PARAMS, *DATA))


# ------------------------------------------------------------ by hand


def test_every_term_is_that_of_a_loop_over_examples_by_hand():
    """All exponents up to 2, of three layers at once, with random coefficients."""
    A = 0.3 * numbers(9, 3, 3, 3, 3)
    found = credit_of(Plasticity(A, Backpropagation()))

    def drives(offsets, x, y):
        z = x @ PARAMS["a"] + PARAMS["bias"] + offsets[0]
        h = jnp.tanh(z)
        g = jnp.tanh(h @ PARAMS["b"] + offsets[1])
        out = g @ PARAMS["c"] + offsets[2]
        return jnp.sum((out - y) ** 2), (x, h, g, out)

    totals = [np.zeros_like(PARAMS[n]) for n in "abc"]
    for x, y in zip(*DATA, strict=True):
        still = [jnp.zeros(n) for n in (4, 3, 2)]
        slopes, values = jax.grad(drives, has_aux=True)(still, x, y)
        for i, name in enumerate("abc"):
            pre, post, delta = (
                np.asarray(v) for v in (values[i], values[i + 1], -slopes[i])
            )
            w = np.asarray(PARAMS[name])
            for a, b, c, d in np.ndindex(3, 3, 3, 3):
                totals[i] += A[a, b, c, d] * np.outer(pre**a, post**b * delta**d) * w**c
    for i, name in enumerate("abc"):
        expected = -totals[i] / 7
        size = np.max(np.abs(expected))
        assert np.allclose(found.grads[name], expected, rtol=1e-4, atol=1e-5 * size)


def test_a_term_without_input_counts_every_place_of_a_padded_convolution():
    loss, params, args = PROBLEMS["convolution"]
    rule = Plasticity({"k": {(0, 2, 1, 0): 1.0}}, post="output")
    found = credit_of(rule, loss, params, args)
    y = jax.lax.conv_general_dilated(
        args[0], params["k"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    expected = params["k"] * jnp.sum(y**2, (0, 1, 2)) / 3
    assert np.allclose(found.grads["k"], -expected, rtol=1e-4)


@pytest.mark.parametrize("problem", ["dense", "convolution", "recurrent"])
def test_oja_is_two_coefficients(problem):
    loss, params, args = PROBLEMS[problem]
    names = [n for n in params if n in ("k", "a")][:1]
    rule = Plasticity({names[0]: OJA}, post="output")
    found = credit_of(rule, loss, params, args)
    expected = credit_of(Hebbian("oja", synapses=tuple(names)), loss, params, args)
    assert close(found.grads, expected.grads)
    assert found.info.not_updated == expected.info.not_updated
    assert np.any(expected.grads[names[0]])


def test_one_unit_of_every_component_rule_is_the_default():
    def single(w, x):
        return jnp.mean((x @ w) ** 2)

    w, args = numbers(1, 5, 1), DATA[:1]
    found = credit_of(Plasticity(), single, w, args)
    for kind in ("oja", "sanger", "subspace"):
        rule = Hebbian(kind, synapses=("params",))
        assert close(found.grads, credit_of(rule, single, w, args).grads)
    x, y = np.asarray(args[0]), np.asarray(args[0] @ w)
    assert np.allclose(
        -found.grads, np.mean(x * y, 0)[:, None] - np.mean(y**2) * w, **ROUNDING
    )


def test_y_is_the_activity_of_the_node_or_what_the_synapse_gives():
    terms = {"a": {(1, 1, 0, 0): 1.0}}
    node = credit_of(Plasticity(terms)).grads["a"]
    h = jnp.tanh(DATA[0] @ PARAMS["a"] + PARAMS["bias"])
    assert np.allclose(-node, DATA[0].T @ h / 7, **ROUNDING)
    output = credit_of(Plasticity(terms, post="output")).grads["a"]
    assert np.allclose(-output, DATA[0].T @ (DATA[0] @ PARAMS["a"]) / 7, **ROUNDING)


# ------------------------------------------------------------ layers and the rest


def test_coefficients_may_differ_by_layer_and_others_follow_the_teacher():
    rule = Plasticity(
        {"a": jnp.zeros((2, 1, 1, 2)).at[1, 0, 0, 1].set(0.5), "c": TAUGHT},
        FeedbackAlignment(),
        others=0.25,
    )
    found, taught = credit_of(rule).grads, credit_of(FeedbackAlignment()).grads
    for name, factor in (("a", 0.5), ("bias", 0.25), ("b", 0.25), ("c", 1.0)):
        assert np.allclose(found[name], factor * taught[name], **ROUNDING)


def test_without_a_teacher_only_the_readout_has_a_gradient():
    exact = jax.grad(loss_fn)(PARAMS, *DATA)
    found = credit_of(Plasticity({"a": OJA}, others=0.5))
    assert np.allclose(found.grads["c"], 0.5 * exact["c"], **ROUNDING)
    assert found.info.not_updated == ("b", "bias")
    assert not np.any(found.grads["b"]) and np.any(found.grads["a"])
    circuit = apical.trace(loss_fn)(PARAMS, *DATA)
    assert Plasticity(OJA).not_updated(circuit) == ("bias",)


def test_connections_that_a_teacher_removes_stay_removed():
    teacher = FeedbackAlignment(removed_forward=0.4, removed_backward=0.2)
    expected = credit_of(teacher)
    found = credit_of(Plasticity(TAUGHT, teacher))
    assert close(found.grads, expected.grads)
    assert np.mean(found.grads["a"] == 0) > 0.2
    decay = credit_of(Plasticity({(1, 1, 0, 0): 1.0}, teacher))
    assert np.array_equal(decay.grads["a"] == 0, expected.grads["a"] == 0)


def test_a_synapse_without_a_node_behind_it_may_be_its_own_end():
    loss, params, args = PROBLEMS["convolution"]
    with pytest.raises(ValueError, match=r"it cannot tell.*`post='output'`"):
        credit_of(Plasticity({"k": OJA}), loss, params, args)


def test_what_is_known_of_the_teacher_is_known_of_the_rule():
    teacher = FeedbackAlignment()
    rule = Plasticity(TAUGHT, teacher)
    assert rule.needs == teacher.needs and Plasticity().needs == ()
    assert teacher.citation in rule.citation and "confavreux" in rule.citation
    assert (rule.descends, Plasticity().descends) == ("loss", "nothing")
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(jax.random.key(0), PARAMS, *DATA)
    found = apical.measure.alignment(learner)(PARAMS, state, *DATA)
    assert float(found.layers["c"].agreement.cosine) > 0.999


def test_plasticity_keeps_the_laws():
    terms = {(1, 0, 0, 1): 0.9, (0, 2, 1, 0): -0.1}
    rule = Plasticity(terms, FeedbackAlignment())
    check_on(rule, loss_fn, PARAMS, DATA, skip=("pull",))


def test_plasticity_without_a_teacher_keeps_the_laws():
    rule = Plasticity(0.1 * numbers(3, 2, 3, 2, 1))
    check_on(rule, loss_fn, PARAMS, DATA, skip=("signals", "pull"))


# ------------------------------------------------------------ a learner as a function


def lives(coefficients, key):
    """The loss after a few updates of a small task of its own."""
    keys = jax.random.split(key, 4)
    w = {
        "in": jax.random.normal(keys[0], (3, 4)) / 2,
        "out": jax.random.normal(keys[1], (4, 1)) / 2,
    }
    x, y = jax.random.normal(keys[2], (3, 5, 3)), jax.random.normal(keys[3], (3, 5, 1))

    def task(w, x, y):
        return jnp.mean((jnp.tanh(x @ w["in"]) @ w["out"] - y) ** 2)

    rule = Plasticity(coefficients, FeedbackAlignment())
    learner = apical.value_and_grad(task, rule)
    state = learner.init(jax.random.key(1), w, x[0], y[0])

    def step(at, batch):
        w, state = at
        credit = learner(w, state, *batch)
        w = jax.tree.map(lambda w, g: w - g, w, credit.grads)
        return (w, credit.state), credit.value

    (w, _), _ = jax.lax.scan(step, (w, state), (x, y))
    return task(w, x[-1], y[-1])


def meta_loss(coefficients):
    keys = jax.random.split(jax.random.key(7), 2)
    return jnp.mean(jax.vmap(lives, (None, 0))(coefficients, keys))


def test_the_gradient_through_a_scan_of_a_learner_is_that_of_finite_differences():
    with jax.enable_x64(True):
        start = {
            "in": jnp.zeros((2, 3, 2, 2)).at[1, 0, 0, 1].set(0.3),
            "out": {(1, 0, 0, 1): jnp.asarray(0.2), (0, 2, 1, 0): jnp.asarray(-0.1)},
        }
        slopes = jax.jit(jax.grad(meta_loss))(start)
        flat, unravel = ravel_pytree(start)
        after = jax.jit(lambda flat: meta_loss(unravel(flat)))
        found, _ = ravel_pytree(slopes)
        step = 1e-5
        eye = step * jnp.eye(len(flat))
        rough = jax.vmap(lambda e: (after(flat + e) - after(flat - e)) / (2 * step))(
            eye
        )
        assert found.dtype == jnp.float64
        assert np.allclose(found, rough, rtol=1e-6, atol=1e-8)
        assert np.sum(np.abs(found) > 1e-3) >= 12
        assert not np.allclose(found, 0.9 * rough, rtol=1e-2)


def test_a_population_of_rules_is_tried_by_vmap():
    population = 0.1 * numbers(3, 3, 2, 2, 2, 2)
    found = jax.jit(jax.vmap(meta_loss))(population)
    assert np.allclose(found, [meta_loss(one) for one in population], rtol=1e-4)
