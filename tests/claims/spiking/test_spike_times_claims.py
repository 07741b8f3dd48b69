"""Claims about spiking networks: their smallest runs, and their judges."""

import jax
import numpy as np
import pytest

from apical.claims import run_claim
from apical.claims.spiking import _yin_yang_network as network
from apical.claims.spiking import eventprop_exact as exact
from apical.claims.spiking import eventprop_yinyang as yinyang
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.report.figures._style import figure_style, render

CLAIMS = {module.CLAIM.id: module.CLAIM for module in (exact, yinyang)}


@pytest.mark.slow
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_the_smallest_form_runs_settles_nothing_and_is_drawn(claim, tmp_path):
    outcome = run_claim(claim, "smoke", tmp_path)
    assert {line["task"] for line in outcome.lines} == {
        task.name for task in claim.tasks("smoke")
    }
    assert outcome.verdict.word == "not settled"
    with figure_style():
        drawn = render(claim.draw(outcome.lines))
    assert drawn.png.startswith(b"\x89PNG")


# ------------------------------------------------------------------ eventprop-exact

NAMES = [
    *("two layers", "two layers, delays", "recurrent", "recurrent, delays"),
    "recurrent, equal time constants",
]


def distances(mine=1e-9, wrong=0.5, left_out=0, seeds=5, names=NAMES):
    return [
        {"model": name, "seed": seed, "rule": rule, "distance": distance}
        | {"spikes": 30, "derivatives": 100, "left_out": left_out}
        for name in names
        for seed in range(seeds)
        for rule, distance in ((exact.GRADIENT, mine), (exact.CONTROL, wrong))
    ]


@pytest.mark.parametrize(
    ("lines", "word", "words"),
    [
        (distances(), "holds", "recurrent, delays: within 1.0e-09, 30 to 30 spikes"),
        (distances(1e-5), "does not hold", "within 1.0e-05"),
        (distances(wrong=1e-3), "not settled", "a wrong gradient was not seen"),
        (distances(left_out=11), "not settled", "too many derivatives left out"),
        (distances(seeds=4), "not settled", "fewer than 5 seeds of: two layers"),
        (distances(names=NAMES[:4]), "not settled", "equal time constants"),
    ],
)
def test_exact_is_judged_by_its_largest_distance(lines, word, words):
    verdict = exact.judge(lines)
    assert verdict.word == word
    assert words in verdict.because


def test_one_inexact_seed_is_enough():
    lines = distances()
    lines[4]["distance"] = 1e-3
    assert exact.judge(lines).word == "does not hold"


# ------------------------------------------------------------------ eventprop-yinyang

NOISE = np.array([-0.0015, 0.001, 0.0, 0.0012, -0.0007])


def accuracies(spiking=0.98, artificial=0.98, control=0.9, remedy=0.985, spread=1.0):
    ends = {
        yinyang.EXACT: spiking,
        BASELINE: artificial,
        CONTROL: control,
        yinyang.REMEDY: remedy,
    }
    return [
        {"rule": rule, "seed": seed, "epoch": epoch, "epochs": 2, "status": "ok"}
        | {"test_accuracy": accuracy, "silent": 0.01}
        for index, (rule, end) in enumerate(ends.items())
        for seed in range(5)
        for epoch, accuracy in enumerate(
            (0.3, end - 0.1, end + spread * NOISE[(seed + index) % 5])
        )
    ]


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (accuracies(), "holds"),
        (accuracies(remedy=0.5), "holds"),  # shown alone
        (accuracies(artificial=0.995), "holds within limits"),
        (accuracies(control=0.979), "does not hold"),
        (accuracies(artificial=0.995, control=0.979), "does not hold"),
        (accuracies(spread=20, control=0.98), "not settled"),
    ],
)
def test_yin_yang_is_judged_by_differences_alone(lines, word):
    assert yinyang.judge(lines).word == word
    higher = [{**line, "test_accuracy": line["test_accuracy"] + 0.01} for line in lines]
    assert yinyang.judge(higher).word == word


def test_a_seed_that_diverged_counts_as_lost():
    lines = accuracies()
    for line in lines:
        if line["rule"] == yinyang.EXACT and line["seed"] == 3:
            line["status"] = "diverged"
    assert yinyang.judge(lines).word != "holds"


def test_published_figures_stand_beside_ours():
    figures = [figure.measured(accuracies()) for figure in yinyang.CLAIM.published]
    assert figures == ["not run at this scale", "not run at this scale"]
    lines = [{**line, "epoch": 100} for line in accuracies() if line["epoch"] == 2]
    assert yinyang.CLAIM.published[0].measured(lines) == "98.00 ± 0.11 % (epoch 100)"


@pytest.mark.parametrize("rule", [CONTROL, BASELINE])
def test_what_does_not_learn_stays_as_drawn_and_the_rest_does_not(rule):
    """The control moves its readout alone; the artificial network has no silence."""
    size = network.Size(width=6, trained=64, tested=32, epochs=1, seeds=1)
    made = {
        CONTROL: network.spiking_network(hidden=False),
        BASELINE: network.artificial_network(),
    }[rule]
    assert ("first" in made.learned) == (rule == BASELINE)
    lines = list(network.train(made, size, 0))
    assert [line["epoch"] for line in lines] == [0, 1]
    assert lines[0]["training_loss"] is None and np.isfinite(lines[1]["training_loss"])
    if rule == BASELINE:
        assert all(line["silent"] == 0 for line in lines)


def test_a_silent_label_has_a_gradient_with_the_remedy_alone():
    params = {"first": np.full((5, 4), 3.0), "second": np.full((4, 3), 0.1)}
    features = np.array([0.2, 0.4, 0.8, 0.6])
    for remedy in (True, False):
        example = network.spiking_network(remedy).example

        def loss(params, example=example):
            return example(params, features, 1)[0]

        (right, silent) = jax.jit(example)(params, features, 1)[1]
        assert silent and not right
        by_second = jax.jit(jax.grad(loss))(params)["second"]
        assert bool(np.any(by_second[:, 1] < 0)) == remedy
        assert not np.any(by_second[:, 0])
