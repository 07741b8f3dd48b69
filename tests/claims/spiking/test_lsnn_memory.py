"""Adaptive thresholds and memory: the network by hand, the judge, the smallest form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apical.claims import run_claim
from apical.claims.spiking import lsnn_memory
from apical.claims.spiking._lsnn import Form, answers, initial_params, learn
from apical.claims.spiking.lsnn_memory import ADAPTIVE, CLAIM, PLAIN, SIZES
from apical.lab.report.figures._style import figure_style, render

FORM = Form(
    **{"units": 6, "memory": 20.0, "channels": 4, "periods": 3, "steps": 6},
    **{"wait": 1, "rate": 0.5, "batch": 2, "iterations": 4, "tested": 1},
)


def by_hand(params, x, adaptive):
    """The mean outputs of one sequence, in the units of the source: threshold 0.01."""
    w, u, read = (np.asarray(p, float) for p in params)
    u = u - np.diag(np.diag(u))
    alpha, rho = np.exp(-1 / 20), np.exp(-1 / 20.0)
    v, b, s, y = np.zeros(6), np.zeros(6), np.zeros(6), np.zeros(2)
    quiet, outputs, fired = np.zeros(6, int), [], []
    for at in np.asarray(x, float):
        b = rho * b + (1 - rho) * s
        v = alpha * v + (1 - alpha) * (at @ w + s @ u) - 0.01 * s
        s = (v > 0.01 + 1.7 * b * adaptive).astype(float) * (quiet == 0)
        quiet = np.where(s > 0, 3, np.maximum(quiet - 1, 0))
        y = alpha * y + (1 - alpha) * (s @ read)
        outputs.append(y)
        fired.append(s)
    return np.reshape(outputs, (3, 6, 2)).mean(1), np.mean(fired)


def test_the_network_is_that_of_the_source():
    params = initial_params(jax.random.key(0), FORM)
    x = np.random.default_rng(0).integers(0, 2, (2, 18, 4)).astype(np.float32)
    adaptive = np.arange(6) < 3
    found, rate = jax.jit(lambda p, x: answers(p, x, jnp.float32(adaptive), FORM))(
        params, x
    )
    expected = [by_hand(params, one, adaptive) for one in x]
    np.testing.assert_allclose(found, [e[0] for e in expected], atol=1e-5)
    assert float(rate) == pytest.approx(np.mean([e[1] for e in expected]), abs=1e-6)
    other = [by_hand(params, one, ~adaptive)[0] for one in x]
    assert abs(np.array(other) - found).max() > 1e-3 and 0.01 < rate < 0.3


def test_training_draws_new_sequences_and_is_the_same_again():
    first, again = (learn(0, 3, 0.01, FORM) for _ in range(2))
    np.testing.assert_array_equal(first.errors, again.errors)
    assert first.test_error == again.test_error and len(first.errors) == 4
    assert not np.array_equal(learn(1, 3, 0.01, FORM).errors, first.errors)


def lines(adaptive, plain, rate=0.01, seeds=5):
    """Lines of runs with these mean errors."""
    return [
        {
            **{"network": name, "seed": seed, "learning_rate": rate, "status": "ok"},
            **{"epoch": 200, "epochs": 200, "training_error": 0.1},
            "error": error + 0.001 * seed,
        }
        for name, error in ((ADAPTIVE, adaptive), (PLAIN, plain))
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (lines(0.02, 0.3), "holds"),
        (lines(0.12, 0.3), "holds within limits"),
        (lines(0.3, 0.3), "does not hold"),
        (lines(0.01, 0.011), "does not hold"),
        (lines(0.047, 0.3), "holds within limits"),
        (lines(0.02, 0.3, seeds=4), "not settled"),
        (lines(0.02, 0.3, rate=SIZES["full"].rates[0]), "not settled"),
    ],
)
def test_the_verdict_follows_from_both_errors(found, word):
    assert lsnn_memory.judge(found).word == word


def test_the_smallest_form_runs_settles_nothing_and_is_drawn(tmp_path):
    outcome = run_claim(CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert {line["network"] for line in outcome.lines} == {ADAPTIVE, PLAIN}
    with figure_style():
        assert render(CLAIM.draw(outcome.lines))


def test_the_best_of_several_step_sizes_is_used_and_kept(monkeypatch):
    def learned(seed, adaptive, rate, form):
        error = abs(rate - 0.01) + 0.1 * (adaptive == 0)
        return lsnn_memory.Course(np.zeros(form.iterations), error, 0.0)

    monkeypatch.setattr(lsnn_memory, "learn", learned)
    (task,) = CLAIM.tasks("full")
    found = list(task.run(None))
    trials = [line for line in found if "trial" in line]
    assert [t["learning_rate"] for t in trials if t["chosen"]] == [0.01, 0.01]
    assert len(trials) == 10 and {e["learning_rate"] for e in found if "seed" in e} == {
        0.01
    }
