"""Feedback against oracles written by hand, and under every transformation of JAX."""

import jax
import jax.numpy as jnp
import pytest
from jax.lax import scan
from support.laws import (
    assert_same,
    distance,
    dot,
    dotted,
    drawn,
    normal,
    problem,
    stacked,
    through,
    traced,
)
from support.zoo._convolutions import OPERATION as CONVOLUTIONS
from support.zoo._operations import WEIGHTED

import apical
from apical.rules import Backpropagation, FeedbackAlignment, PredictiveCoding

# ------------------------------------------------------------- the stop-gradient oracle


def three_layers(params, copy, x, y, dot):
    h = jnp.tanh(dot(x, params["a"], copy["a"]) + params["bias"])
    h = jax.nn.gelu(dot(h, params["b"], copy["b"]))
    return jnp.mean((dot(h, params["c"], copy["c"]) - y) ** 2)


def through_time(params, copy, x, y, dot):
    def step(h, x):
        drive = dot(x, params["a"], copy["a"]) + dot(h, params["b"], copy["b"])
        return jnp.tanh(drive + params["bias"]), None

    h, _ = scan(step, jnp.zeros((x.shape[1], 6)), x)
    return jnp.mean((dot(h, params["c"], copy["c"]) - y) ** 2)


PARAMS = {"a": normal(1, 5, 6, size=0.5), "b": normal(2, 6, 6, size=0.5)}
PARAMS |= {"c": normal(3, 6, 2, size=0.5), "bias": normal(4, 6, size=0.1)}
ORACLES = {
    "three_layers": (three_layers, normal(5, 4, 5)),
    "through_time": (through_time, normal(6, 7, 4, 5)),
}


@pytest.mark.parametrize("name", ORACLES)
def test_feedback_is_the_stop_gradient_oracle(name):
    model, x = ORACLES[name]
    y, copy = normal(7, 4, 2), drawn(PARAMS)

    def plain(params, x, y):
        return model(params, params, x, y, lambda x, w, b: x @ w)

    @jax.jit
    def compute(params, copy):
        found = jax.grad(lambda p: circuit.run(p, (x, y), feedback=copy).loss)(params)
        expected = jax.grad(model)(params, copy, x, y, dot)
        return found, expected, jax.grad(plain)(params, x, y)

    circuit = apical.trace(plain)(PARAMS, x, y)
    found, expected, backpropagation = compute(PARAMS, copy)
    assert_same(found, expected)
    for leaf in ("a", "b", "bias"):
        assert distance(found[leaf], backpropagation[leaf]) > 0.1
    assert_same(found["c"], backpropagation["c"])
    found, expected, backpropagation = compute(PARAMS, PARAMS)
    assert_same(found, expected)
    assert_same(found, backpropagation)


CURVED = {"bilinear", "tied_weight", "preferred_element_type", "bfloat16"}
CURVED |= {"scan_consts", "scan_xs", "scan_carry", "fori_loop", "fori_loop_indexed"}
CURVED |= {"cond", "switch", "remat", "jit"}
LINEAR = {n: (op, False) for n, (op, *_) in WEIGHTED.items() if n not in CURVED}
LINEAR |= {name: (operation, True) for name, (operation, _) in CONVOLUTIONS.items()}


@pytest.mark.parametrize("name", LINEAR)
def test_the_second_copy_goes_through_what_the_weight_goes_through(name):
    operation, is_convolution = LINEAR[name]
    found, copy = problem(name), drawn(problem(name).learned)

    def oracle(params, x, y):
        h = jnp.tanh(x @ params["below"] + (0 if is_convolution else params["bias"]))
        out = through(operation, h, params["above"], copy["above"])
        return 0.5 * jnp.sum((out - y) ** 2) / len(out)

    @jax.jit
    def compute(params):
        def loss(params):
            return found.run(params, found.args, feedback=copy).loss

        return jax.grad(loss)(params), jax.grad(oracle)(params, *found.args)

    assert_same(*compute(found.learned), found.tolerance)


# ---------------------------------------------------------------- derivatives of it


DERIVED = ["mlp_tanh", "rnn", "conditional", "lora", "custom_jvp", "conv_grouped"]


@pytest.fixture(scope="module", params=DERIVED)
def derivatives(request):
    found, args = problem(request.param), problem(request.param).args
    copy, along = drawn(found.learned), drawn(found.learned, 2)

    def run(params, copy):
        return found.run(params, args, feedback=copy).loss

    def own(params):
        return found.loss(params, args)[0]

    def descended(gradient, params):
        """The derivative of a gradient along a direction, backwards and forwards."""
        backwards = jax.grad(lambda p: dotted(gradient(p), along))(params)
        return backwards, jax.jvp(gradient, (params,), (along,))[1]

    def slopes(copy, params):
        """The slope along a direction by forward mode and by reverse mode."""
        still = jax.tree.map(jnp.zeros_like, copy)
        forwards = jax.jvp(run, (params, copy), (along, still))[1]
        return forwards, dotted(jax.grad(run)(params, copy), along)

    @jax.jit
    def compute(params):
        return {
            "itself": slopes(params, params),
            "other": slopes(copy, params),
            "true": jax.jvp(own, (params,), (along,))[1],
            "curvature": jax.grad(lambda p: dotted(jax.grad(own)(p), along))(params),
            "moving": descended(lambda p: jax.grad(run)(p, p), params),
            "fixed": descended(lambda p: jax.grad(run)(p, copy), params),
        }

    return compute(found.learned)


@pytest.mark.grid(keep=3)
def test_forward_mode_agrees_with_reverse_mode(derivatives):
    forwards, backwards = derivatives["itself"]
    assert_same((forwards, backwards), (derivatives["true"],) * 2, 1e-4)
    forwards, backwards = derivatives["other"]
    assert_same(forwards, backwards, 1e-4)
    assert distance(forwards, derivatives["true"]) > 1e-2


def test_the_gradient_has_a_gradient(derivatives):
    assert_same(derivatives["moving"], (derivatives["curvature"],) * 2, 1e-4)
    gaps = jax.tree.map(distance, derivatives["fixed"][1], derivatives["curvature"])
    assert max(jax.tree.leaves(gaps)) > 1e-2


MAPPED = ["mlp_tanh", "rnn", "cond", "switch", "scanned_stack_remat", "conv_grouped"]
MAPPED += ["fori_loop_indexed", "dropout", "language_model", "equinox_mlp"]


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", MAPPED)
def test_it_can_be_mapped_over_parameters(name):
    found = problem(name)
    seeds = [found.learned, drawn(found.learned, 3)]

    def compute(params, copy):
        run = found.run(params, found.args)
        held = found.run(params, found.args, tap="clamp", inject=run.sites)

        def loss(params):
            return found.run(params, found.args, feedback=copy).loss

        return run.loss, held.loss, jax.grad(loss)(params), run.sites

    copies = [drawn(found.learned, 4), seeds[1]]
    at_once = jax.jit(jax.vmap(compute))(stacked(*seeds), stacked(*copies))
    alone = jax.jit(compute)
    one_by_one = stacked(*map(alone, seeds, copies))
    assert_same(at_once, one_by_one, 1e-4)
    assert distance(at_once[0][0], at_once[0][1]) > 1e-3


# ------------------------------------------------------------------- size and retracing


IN_TIME = ["rnn", "lstm", "lstm_hoisted", "lstm_stacked", "rnn_over_examples"]
IN_TIME += ["nested_scan", "haiku_lstm", "linen_lstm"]


def program(name: str, times: int) -> str:
    """The gradient of `circuit.run`, of a series so many times as long."""
    found = problem(name)
    series, *rest = found.args
    series = jnp.concatenate([series] * times, axis=1)
    longer = traced(found.loss_fn, found.params, series, *rest, **found.keywords)

    def loss(params, copy):
        return longer.run(params, longer.args, feedback=copy).loss

    return str(jax.make_jaxpr(jax.grad(loss))(longer.learned, longer.learned))


@pytest.mark.parametrize("name", IN_TIME)
def test_a_scan_stays_rolled(name):
    short, long = program(name, 1), program(name, 2)
    assert short.count("scan[") == long.count("scan[") > 1
    assert abs(short.count("\n") - long.count("\n")) < 5
    steps = problem(name).args[0].shape[1]
    assert f"length={2 * steps}" in long and f"length={2 * steps}" not in short


RULES = [Backpropagation(), FeedbackAlignment(), PredictiveCoding(steps=2)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_the_users_code_is_traced_once(rule):
    calls = []

    def loss_fn(params, x):
        calls.append(x.shape)
        return jnp.mean((jnp.tanh(x @ params["a"]) @ params["c"]) ** 2)

    learner = apical.value_and_grad(loss_fn, rule)
    step, x = jax.jit(learner), normal(8, 4, 5)
    params = {"a": PARAMS["a"], "c": PARAMS["c"]}
    state = learner.init(jax.random.key(0), params, x)
    for _ in range(5):
        credit = step(params, state, x)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, credit.grads)
    # Backpropagation is `jax.grad` of the user's own function, traced once more by jit.
    assert len(calls) == (2 if isinstance(rule, Backpropagation) else 1)
    step(params, state, x[:2])
    assert calls[-1] == (2, 5)
