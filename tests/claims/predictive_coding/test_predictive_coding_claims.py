"""Claims about predictive coding: their smallest runs, and their judges."""

import jax
import numpy as np
import optax
import pytest

import apical
from apical.claims import run_claim
from apical.claims.networks import recurrent_net
from apical.claims.predictive_coding import cost as cost
from apical.claims.predictive_coding import depth as depth
from apical.claims.predictive_coding import exact as exact
from apical.claims.predictive_coding import fixed_vs_free as kinds
from apical.claims.predictive_coding import one_sweep as sweep
from apical.claims.predictive_coding._gradient_error import (
    FixedPredictionInference,
    gradient_error,
)
from apical.claims.predictive_coding._untrained_networks import UntrainedNetwork
from apical.lab.report.figures._style import figure_style, render
from apical.rules import PredictiveCoding, Sweep

SEEDS = range(5)
CLAIMS = {
    module.CLAIM.id: module.CLAIM for module in (exact, cost, sweep, kinds, depth)
}


# pc-depth takes its source's number of steps, one fewer than reach the first weights.
@pytest.mark.filterwarnings("ignore:With `steps=:UserWarning")
@pytest.mark.slow
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_the_smallest_form_runs_settles_nothing_and_is_drawn(claim, tmp_path):
    outcome = run_claim(claim, "smoke", tmp_path)
    assert {line["task"] for line in outcome.lines} == {
        task.name for task in claim.tasks("smoke")
    }
    assert outcome.verdict.word == "not settled"
    assert outcome.verdict.because
    with figure_style():
        drawn = render(claim.draw(outcome.lines))
    assert drawn.png.startswith(b"\x89PNG")


def test_double_precision_ends_with_the_work():
    with jax.enable_x64(True):
        assert jax.numpy.zeros(()).dtype == np.float64
    assert jax.numpy.zeros(()).dtype == np.float32


# ---------------------------------------------------------------- the literal recursion

RNN = UntrainedNetwork(recurrent_net(4, unrolled=True), (4,), 2, 3).problem(0)


def error_of(rule):
    """How far the gradient of a rule is from the exact one."""
    learner = jax.jit(apical.value_and_grad(RNN.loss_fn, rule, **RNN.keywords))
    grads = learner(RNN.params, (), *RNN.args).grads
    return gradient_error(
        grads, jax.grad(RNN.loss_fn, has_aux=True)(RNN.params, *RNN.args)[0]
    )


@pytest.mark.parametrize(("steps", "same"), [(4, True), (3, False)])
def test_the_steps_are_those_of_the_rule(steps, same):
    rule = PredictiveCoding(4, inference=optax.sgd(0.3))
    ((_, found),) = FixedPredictionInference(RNN).steps(RNN, 0.3, [steps])
    assert found.distance > 0.1  # far from exact: what is compared is the way there
    assert np.allclose(found, error_of(rule), atol=1e-6) == same


@pytest.mark.parametrize(("rate", "same"), [(0.5, True), (0.6, False)])
def test_the_visits_are_those_of_the_rule(rate, same):
    inference = FixedPredictionInference(RNN)
    (_, order), *_ = list(sweep.orders(inference.circuit, 1))[2:]
    rule = PredictiveCoding(rate=0.5, inference=Sweep(2, order))
    found = inference.sweeps(RNN, rate, order)
    next(found)
    assert np.allclose(next(found), error_of(rule), atol=1e-6) == same


def test_a_mixed_order_makes_a_node_wait_and_the_way_back_does_not():
    circuit = FixedPredictionInference(RNN).circuit
    for kind, order in sweep.orders(circuit, 4):
        assert sorted(order) == sorted(node.name for node in circuit.nodes)
        assert sweep.waits(circuit, order) == (kind != sweep.BACK)


@pytest.mark.parametrize(("theta", "v0"), [(2.0, 5.0), (3.0, 4.0)])
def test_the_derivative_by_hand_is_that_of_differences(theta, v0):
    def loss(theta, v0):
        y = np.tan(np.sqrt(theta * v0)) + np.sin(v0**2)
        return (y - 1) ** 2 / 2

    found, step = exact.scalar_by_hand(theta, v0), 1e-6
    by_theta = (loss(theta + step, v0) - loss(theta - step, v0)) / (2 * step)
    by_v0 = (loss(theta, v0 + step) - loss(theta, v0 - step)) / (2 * step)
    np.testing.assert_allclose(found["theta"], by_theta, rtol=1e-6)
    np.testing.assert_allclose(found["v0"], by_v0, rtol=1e-6)


# -------------------------------------------------------------------------- the judges


def exact_lines(begins=0.5, ends=1e-12, seeds=SEEDS, **other):
    """Curves that end at `ends`, or at what is said of a graph by name."""
    return [
        {"model": name, "seed": seed, "rate": rate, "steps": steps, "last": steps > 1}
        | {"distance": other.get(name, ends) if steps > 1 else begins, "depth": 4}
        for name in (*exact.PAPER, *exact.BEYOND)
        for seed in seeds
        for rate in (0.1, 1.0)
        for steps in (1, 500)
    ]


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (exact_lines(), "holds"),
        (exact_lines(transformer=1e-3), "holds within limits"),
        (exact_lines(LSTM=1e-3), "does not hold"),
        (exact_lines(ends=1e-3), "does not hold"),
        (exact_lines(begins=1e-12), "not settled"),
        (exact_lines(seeds=range(4)), "not settled"),
        ([x for x in exact_lines() if x["model"] != "scalar"], "not settled"),
        ([x | {"wrong_by_hand": 0.1} for x in exact_lines()], "not settled"),
    ],
)
def test_exactness_is_judged_by_the_ends_of_all_curves(lines, word):
    assert exact.judge(lines).word == word


def cost_lines(literal=100.0, swept=120.0, distance=1e-7, seeds=SEEDS, spread=1.02):
    """Ratios of time; `literal` may give one for each network."""
    ratios = literal if isinstance(literal, dict) else {}
    return [
        {"model": name, "seed": seed, "schedule": schedule, "distance": far}
        | {"flops_ratio": ratio * spread**seed, "seconds_ratio": 7.0}
        for name in cost.MODELS
        for seed in seeds
        for schedule, ratio, far in (
            (cost.LITERAL, ratios.get(name, 100.0) if ratios else literal, 1e-3),
            ("one sweep", swept, distance),
        )
    ]


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (cost_lines(), "holds"),
        (cost_lines(swept=1.1, distance=1e-2), "holds"),  # cheaper, but further away
        (cost_lines(swept=1.1), "holds within limits"),
        (cost_lines(literal={"recurrent": 8.0}), "does not hold"),
        (cost_lines(literal=1000.0), "does not hold"),
        (cost_lines(literal=190.0), "not settled"),  # the interval passes 200
        (cost_lines(seeds=range(4)), "not settled"),
        ([x for x in cost_lines() if x["model"] != "LSTM"], "not settled"),
    ],
)
def test_about_a_hundred_is_judged_by_the_interval_and_by_cheaper_ways(lines, word):
    assert cost.judge(lines).word == word


def sweep_lines(whole=1e-15, other=0.5, end=1e-12, seeds=SEEDS):
    """First and last sweeps, in two orders and at two rates."""
    return [
        {"model": name, "seed": seed, "order": order, "rate": rate, "sweeps": sweeps}
        | {"distance": distance, "exact": distance < sweep.EXACT, "last": sweeps > 1}
        for name in sweep.MODELS
        for seed in seeds
        for order in (sweep.BACK, sweep.MIXED)
        for rate in (0.1, 1.0)
        for sweeps, distance in (
            (1, whole if (order, rate) == (sweep.BACK, 1.0) else other),
            (9, end),
        )
    ]


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (sweep_lines(), "holds"),
        (sweep_lines(other=1e-12), "holds within limits"),  # all are exact at once
        (sweep_lines(end=0.1), "holds within limits"),  # some never are
        (sweep_lines(whole=0.1), "does not hold"),
        (sweep_lines(seeds=range(4)), "not settled"),
        (sweep_lines()[1:], "holds"),
        ([x for x in sweep_lines() if x["model"] != "residual"], "not settled"),
    ],
)
def test_one_sweep_is_judged_by_the_first_sweep_and_by_the_last(lines, word):
    assert sweep.judge(lines).word == word


def kinds_lines(cosine=0.7, gain=0.0, residual=1e-9, spread=0.001, seeds=SEEDS):
    """Gradients and accuracies of both kinds at two depths."""
    learned = {"epoch": 1, "epochs": 1, "status": "ok"}
    return [
        {"layers": layers, "seed": seed, "rule": name} | line
        for layers in (2, 6)
        for seed in seeds
        for name, free in ((kinds.FIXED, False), (kinds.FREE, True))
        for line in (
            {"part": "gradient", "residual": residual if free else 0.0}
            | {"cosine": cosine + seed * spread if free else 1.0},
            {"part": "learning", **learned}
            | {"test_accuracy": 0.9 + (gain + spread * seed if free else 0.0)},
        )
    ]


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (kinds_lines(gain=0.05), "holds"),
        (kinds_lines(gain=-0.05), "holds"),
        (kinds_lines(), "holds within limits"),
        (kinds_lines(cosine=0.998), "does not hold"),
        (kinds_lines(gain=-0.01, spread=0.01), "not settled"),
        (kinds_lines(gain=0.05, residual=1e-3), "not settled"),
        (kinds_lines(gain=0.05, seeds=range(4)), "not settled"),
        ([x for x in kinds_lines() if x["part"] == "gradient"], "not settled"),
    ],
)
def test_both_kinds_are_judged_by_gradients_and_by_what_is_learned(lines, word):
    assert kinds.judge(lines).word == word


# ------------------------------------------------------------------------ depth scaling


def deep(accuracies):
    """Lines of 8 and 64 layers, with depth scaling and as drawn, and of backprop."""
    places = [(n, kind) for kind in (depth.SCALED, depth.PLAIN) for n in (8, 64)]
    noise = [-0.002, 0.001, 0.0, 0.002, -0.001]
    return [
        {"layers": layers, "kind": kind, "rule": name, "seed": seed}
        | {"epoch": 1, "epochs": 1}
        | {"test_accuracy": accuracy + noise[seed], "status": status}
        for (layers, kind), (accuracy, status) in zip(places, accuracies, strict=True)
        for name in (depth.PREDICTIVE, depth.BASELINE)
        for seed in SEEDS
    ]


@pytest.mark.parametrize(
    ("of_64", "drawn", "word"),
    [
        (0.91, (0.1, "ok"), "holds"),
        (0.91, (0.9, "diverged"), "holds"),
        (0.88, (0.1, "ok"), "holds within limits"),
        (0.60, (0.1, "ok"), "does not hold"),
        (0.91, (0.93, "ok"), "does not hold"),
    ],
)
def test_depth_is_judged_by_64_layers_beside_8_and_beside_those_as_drawn(
    of_64, drawn, word
):
    lines = deep([(0.91, "ok"), (of_64, "ok"), (0.92, "ok"), drawn])
    verdict = depth.judge(lines)
    assert verdict.word == word
    assert depth.judge([ln for ln in lines if ln["seed"] < 3]).word == "not settled"
