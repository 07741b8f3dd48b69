"""Fixed predictions: backpropagation, and deviations from it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import binom
from support.by_hand import (
    array,
    assert_close,
    backward,
    batch,
    distance,
    layers,
    loss_fn,
    weights,
)
from support.zoo import MODELS, backpropagation, learned

import apical
from apical.rules import PredictiveCoding, Sweep

# Many of these take too few steps to see what is missing then.
pytestmark = pytest.mark.filterwarnings("ignore:With .* no signal:UserWarning")
KEY = jax.random.key(0)
# Four nodes in a chain, named by the weights that make them.
PARAMS, DATA = layers(5, 6, 6, 6, 6, 3), batch(4, 5, 3)
NODES = ("0", "1", "2", "3")


@functools.cache
def exact():
    return backward(PARAMS, weights(PARAMS), *DATA)


def credit_of(rule, loss_fn=loss_fn, params=PARAMS, data=DATA, **keywords):
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    return jax.jit(learner)(params, learner.init(KEY, params, *data), *data)


def signals_of(rule):
    return jax.jit(apical.value_and_grad(loss_fn, rule).signals)(PARAMS, (), *DATA)


# ---------------------------------------------------------- when it is exact, and not

HANDFUL = ("mlp_residual", "conv_residual", "rnn", "scanned_stack", "attention")
HANDFUL += ("dictionary_batch", "lora", "custom_vjp", "custom_vjp_clipped")


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", HANDFUL)
def test_as_many_steps_as_the_longest_path_are_exact_and_one_fewer_is_not(name):
    model = MODELS[name]
    loss_fn, params, args = model.make(KEY)
    keywords = {"has_aux": model.has_aux, "batch_axes": model.batch_axes}
    depth = apical.trace(loss_fn, **keywords)(params, *args).depth
    rules = [PredictiveCoding(steps) for steps in (depth, depth - 1)]
    rules += [PredictiveCoding(inference=Sweep())]

    @jax.jit
    def grads(params):
        learners = [apical.value_and_grad(loss_fn, r, **keywords) for r in rules]
        return [learned(each(params, (), *args).grads)[0] for each in learners]

    enough, fewer, sweep = grads(params)
    _, expected = backpropagation(loss_fn, params, *args, has_aux=model.has_aux)
    scale = max(np.max(np.abs(leaf)) for leaf in expected.values())
    assert_close(enough, expected, rtol=1e-5, atol=1e-5 * scale)
    assert_close(sweep, expected, rtol=1e-5, atol=1e-5 * scale)
    assert max(distance(fewer[path], expected[path]) for path in expected) > 1e-3


def test_a_users_derivative_rule_is_followed():
    """The derivative of a step is zero; the surrogate's is not."""
    loss_fn, params, args = MODELS["custom_vjp"].make(KEY)
    grads = credit_of(PredictiveCoding(2), loss_fn, params, args).grads
    assert all(np.any(leaf) for leaf in jax.tree.leaves(grads))


@jax.custom_vjp
def clipped(h):
    return h


clipped.defvjp(lambda h: (h, None), lambda _, g: (jnp.clip(g, -0.02, 0.02),))
WRAPPERS = {
    "bare": lambda f: f,
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "cond": lambda f: lambda h: jax.lax.cond(h[0, 0] > 9.0, lambda h: 2 * h, f, h),
    "scan": lambda f: lambda h: jax.lax.scan(lambda h, _: (f(h), None), h, length=1)[0],
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_rule_that_is_not_linear_sees_the_whole_gradient_of_the_batch(name):
    """Errors of single examples, or of paths of one length, would be cut elsewhere."""

    def skipping(activation, params, x, y):
        below = activation(x @ params[0]["w"])
        h = activation(below @ params[1]["w"])  # paths of two lengths meet here
        upper = activation(h @ params[2]["w"])
        output = (h + upper @ params[3]["w"]) @ params[4]["w"]
        return 0.5 * jnp.sum((output - y) ** 2) / len(x)

    wrapped = WRAPPERS[name](lambda h: clipped(jnp.tanh(h)))
    clipping, plain = (functools.partial(skipping, f) for f in (wrapped, jnp.tanh))
    grads = credit_of(PredictiveCoding(8), clipping).grads
    expected = jax.jit(jax.grad(clipping))(PARAMS, *DATA)
    assert_close(grads, expected, atol=1e-5)
    assert distance(jax.jit(jax.grad(plain))(PARAMS, *DATA), expected) > 0.1


def test_the_scalar_example_of_the_paper():
    """Millidge 2020: y = tan(sqrt(theta v0)) + sin(v0^2), every operation a node."""

    def loss_fn(theta, v0, target):
        y = jnp.tan(jnp.sqrt(theta * v0)) + jnp.sin(v0**2)
        return 0.5 * (y - target) ** 2

    theta, data = jnp.float32(2.0), (jnp.float32(5.0), jnp.float32(1.0))
    keywords = {"nodes": "every", "batch_axes": None}
    circuit = apical.trace(loss_fn, **keywords)(theta, *data)
    assert circuit.depth >= 4
    root = np.sqrt(10.0)
    slope = 2.5 / (root * np.cos(root) ** 2)
    expected = (np.tan(root) + np.sin(25.0) - 1.0) * slope
    np.testing.assert_allclose(jax.grad(loss_fn)(theta, *data), expected, rtol=1e-5)
    for steps, right in [(circuit.depth, True), (circuit.depth - 1, False)]:
        found = credit_of(PredictiveCoding(steps), loss_fn, theta, data, **keywords)
        assert np.allclose(found.grads, expected, rtol=1e-5) == right
        np.testing.assert_allclose(found.value, loss_fn(theta, *data), rtol=1e-6)


# -------------------------------------------------------------- what the recursion says


@pytest.mark.parametrize("one_by_one", [False, True], ids=["summed", "one by one"])
@pytest.mark.parametrize(("steps", "rate"), [(3, 0.5), (6, 0.3), (2, 1.0)])
def test_a_signal_arrives_with_the_probability_that_it_took_its_steps(
    steps, rate, one_by_one
):
    """A path of k nodes has the weight P[Binomial(steps, rate) >= k]."""
    grads, teaching = exact()
    rule = PredictiveCoding(steps, rate)
    if one_by_one:  # the same steps, not summed in closed form
        rule = PredictiveCoding(steps, inference=optax.sgd(rate))
    found, seen = credit_of(rule).grads, signals_of(rule)
    for i, grad in enumerate(grads):
        weight = binom.sf(len(NODES) - i - 1, steps, rate)
        expected = jax.tree.map(lambda leaf, c=weight: c * leaf, grad)
        assert_close(found[i], expected, atol=1e-5)
        if i < len(NODES):
            assert_close(seen[NODES[i]].teaching, weight * teaching[i], atol=1e-5)
    assert distance(found[0], grads[0]) > 0.1


@pytest.mark.parametrize("name", ["mlp_residual", "rnn", "attention"])
def test_the_closed_form_equals_steps_one_by_one_on_any_graph(name):
    loss_fn, params, args = MODELS[name].make(KEY)
    rules = [PredictiveCoding(4, 0.5), PredictiveCoding(4, inference=optax.sgd(0.5))]

    @jax.jit
    def run():
        learners = [apical.value_and_grad(loss_fn, rule) for rule in rules]
        return [each(params, (), *args) for each in learners]

    summed, stepped = run()
    assert_close(summed.grads, stepped.grads, atol=1e-5)
    assert_close(summed.info.energy, stepped.info.energy, atol=1e-5)
    assert_close(summed.info.residual, stepped.info.residual, atol=1e-5)
    assert distance(summed.grads, jax.jit(jax.grad(loss_fn))(params, *args)) > 0.05


def test_paths_of_different_lengths_arrive_with_different_weights():
    def loss_fn(params, x, y, direct=1.0, through=1.0):
        h = jnp.tanh(x @ params["a"])
        short, long = dimmed(h, direct), dimmed(h, through)
        upper = jnp.tanh(long @ params["b"])
        return (
            0.5 * jnp.sum((upper @ params["c"] + short @ params["d"] - y) ** 2) / len(x)
        )

    def dimmed(h, weight):  # its gradient, times a weight
        return jax.lax.stop_gradient((1 - weight) * h) + weight * h

    def plain(params, x, y):
        h = jnp.tanh(x @ params["a"])
        upper = jnp.tanh(h @ params["b"])
        return 0.5 * jnp.sum((upper @ params["c"] + h @ params["d"] - y) ** 2) / len(x)

    draw = np.random.default_rng(0)
    params = {"a": array(draw, 5, 6), "b": array(draw, 6, 6)}
    params |= {"c": array(draw, 6, 3), "d": array(draw, 6, 3)}
    found = credit_of(PredictiveCoding(3, 0.5), plain, params).grads
    once, twice = binom.sf(0, 3, 0.5), binom.sf(1, 3, 0.5)
    expected = jax.grad(loss_fn)(params, *DATA, direct=once, through=twice)
    assert_close(found["a"], expected["a"], atol=1e-5)
    assert distance(found["a"], jax.grad(plain)(params, *DATA)["a"]) > 0.1


def recursion(order, sweeps, rate):
    """Return the weight with which each node's signal has arrived."""
    arrived = [0.0] * len(NODES) + [1.0]  # the last is the loss
    for _ in range(sweeps):
        for node in map(int, order):
            arrived[node] += rate * (arrived[node + 1] - arrived[node])
    return arrived[:-1]


@pytest.mark.parametrize(
    ("order", "sweeps", "rate", "whole"),
    [
        (("3", "1", "2", "0"), 1, 1.0, False),
        (("3", "1", "2", "0"), 2, 1.0, True),
        (("0", "2", "3", "1"), 2, 0.6, False),
        (None, 1, 0.5, False),
        (None, 2, 1.0, True),
        (("3", "2", "1", "0"), 1, 1.0, True),
    ],
)
def test_the_order_of_visits_decides_what_arrives(order, sweeps, rate, whole):
    rule = PredictiveCoding(rate=rate, inference=Sweep(sweeps, order))
    arrived = recursion(order or tuple(reversed(NODES)), sweeps, rate)
    assert (min(arrived) == 1) == whole
    _, teaching = exact()
    seen = signals_of(rule)
    for name, weight, expected in zip(NODES, arrived, teaching, strict=True):
        assert_close(seen[name].teaching, weight * expected, atol=1e-5)
    scaled = [
        jax.tree.map(lambda leaf, c=c: c * leaf, grad)
        for c, grad in zip([*arrived, 1.0], exact()[0], strict=True)
    ]
    assert_close(credit_of(rule).grads, scaled, atol=1e-5)


@pytest.mark.parametrize(("sweeps", "right"), [(5, True), (4, False)])
def test_an_order_visits_all_steps_of_a_loop_at_once(sweeps, right):
    loss_fn, params, args = MODELS["rnn"].make(KEY)
    (node,) = apical.trace(loss_fn)(params, *args).nodes
    rule = PredictiveCoding(inference=Sweep(sweeps, (node.name,)))
    grads = credit_of(rule, loss_fn, params, args).grads
    close = distance(grads, jax.grad(loss_fn)(params, *args)) < 1e-5
    assert close == right


def test_an_order_without_a_node_is_refused():
    rule = PredictiveCoding(inference=Sweep(order=("0", "1", "3")))
    with pytest.raises(ValueError, match="`order` must name every node; '2'"):
        apical.value_and_grad(loss_fn, rule).init(KEY, PARAMS, *DATA)


# ------------------------------------------------------------ independence, diagnostics


@pytest.mark.grid(keep=2)
@pytest.mark.parametrize("prediction", ["fixed", "free"])
@pytest.mark.parametrize("inference", [None, optax.adam(0.1)], ids=["rate", "adam"])
def test_rates_do_not_depend_on_the_number_of_examples(prediction, inference):
    rule = PredictiveCoding(5, 0.3, prediction=prediction, inference=inference)
    double = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), DATA)

    @jax.jit
    def run(x, y):
        found = apical.value_and_grad(loss_fn, rule).signals(PARAMS, (), x, y)
        # With one declared example, the rule uses the rates of the batch's mean.
        trap = apical.value_and_grad(loss_fn, rule, batch_axes=None)(PARAMS, (), x, y)
        return found, trap.grads

    (once, trap), (twice, other_trap) = run(*DATA), run(*double)
    for name in NODES:
        for half in (slice(4), slice(4, 8)):
            found = jax.tree.map(lambda leaf, half=half: np.asarray(leaf)[half], twice)[
                name
            ]
            assert_close(found.value, once[name].value, atol=1e-5)
            assert_close(2 * found.teaching, once[name].teaching, atol=1e-5)
    linear = prediction == "fixed" and inference is None
    assert (distance(other_trap, trap) < 1e-5) == linear


@pytest.mark.parametrize("prediction", ["fixed", "free"])
def test_a_sum_over_the_examples_has_the_same_rates_and_larger_gradients(prediction):
    def total(params, x, y):
        return len(x) * loss_fn(params, x, y)

    rule = PredictiveCoding(5, prediction=prediction, inference=optax.adam(0.1))
    summed = credit_of(rule, total, reduction="sum").grads
    mean = credit_of(rule).grads
    assert_close(summed, jax.tree.map(lambda leaf: 4 * leaf, mean), atol=1e-5)


def test_the_diagnostics_are_those_of_the_last_step():
    rule = PredictiveCoding(3, 0.5)
    credit, seen = credit_of(rule), signals_of(rule)
    for name in NODES:
        error = np.asarray(seen[name].value - seen[name].prediction)
        half = 0.5 * np.sum(np.square(error)) / 4
        np.testing.assert_allclose(credit.info.energy[name], half, rtol=1e-5)
        assert_close(seen[name].teaching, -error / 4)
    assert not credit.info.settled
    assert 0.001 < credit.info.residual < 1
    many = credit_of(PredictiveCoding(40, 0.5))
    assert many.info.settled
    assert many.info.residual < 1e-3
    np.testing.assert_allclose(many.value, loss_fn(PARAMS, *DATA), rtol=1e-6)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"steps": 0}, "`steps` must be a whole number above 0"),
        ({"prediction": "fluid"}, "`prediction` must be one of"),
    ],
)
def test_settings_that_mean_nothing_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        PredictiveCoding(**keywords)


def test_a_sweep_visits_at_least_once():
    with pytest.raises(ValueError, match="`sweeps` must be a whole number above 0"):
        Sweep(sweeps=0)
