"""Learning within an episode: the episodes, the judge, the smallest form."""

import jax
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.online import lsnn_learns_to_learn as claim
from apical.claims.online._adaptive_net import adaptive_net
from apical.claims.online._episodes import (
    Form,
    answers,
    drawn_episodes,
    least_squares_errors,
    shown,
)
from apical.lab._registry import BASELINE

FORM = Form(4, 6, 3, 5, batch=4, iterations=3, tested=6)


def test_an_episode_has_one_function_and_each_its_own():
    points, values = map(np.asarray, drawn_episodes(jax.random.key(0), 200, 9))
    assert np.abs(points).max() <= 1 and abs(points.mean()) < 0.05
    # Two parameters and the slope: three points determine the others.
    drive = np.arctanh(values.astype(float))
    with_one = np.concatenate([points, np.ones((200, 9, 1))], axis=-1)
    fitted = zip(with_one, drive, strict=True)
    fits = [np.linalg.lstsq(x, d, rcond=None) for x, d in fitted]
    assert max(float(fit[1].sum()) for fit in fits) < 1e-4
    a = np.array([fit[0][:2] for fit in fits])
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 2, rtol=1e-3)
    offsets = np.array([fit[0][2] for fit in fits])
    assert 0.9 < np.abs(offsets).max() <= 1.001 and a.std() > 1.2


def test_a_trial_shows_its_point_and_the_value_before():
    points, values = drawn_episodes(jax.random.key(1), 2, 4)
    x = np.asarray(shown(FORM, points, values)).reshape(2, 4, 6, 3, 3)
    assert np.all(x == x[:, :, :1])
    centres = np.array([-1.0, 0.0, 1.0])
    for k in range(4):
        before = np.asarray(values)[:, k - 1] if k else np.zeros(2)
        numbers = np.concatenate([np.asarray(points)[:, k], before[:, None]], axis=1)
        expected = np.exp(-0.5 * (numbers[..., None] - centres) ** 2)
        np.testing.assert_allclose(x[:, k, 0], expected, rtol=1e-5)


def test_an_answer_cannot_know_the_value_that_is_asked():
    net = adaptive_net(5)(jax.random.key(0), (24, 9), 1)
    net = jax.tree.map(lambda w: 5 * w, net)
    points, values = drawn_episodes(jax.random.key(1), 3, 4)
    found = answers(net, FORM, shown(FORM, points, values))
    later = answers(net, FORM, shown(FORM, points, values.at[:, 2:].set(0.7)))
    np.testing.assert_array_equal(found[:, :3], later[:, :3])
    assert np.any(found[:, 3] != later[:, 3])


def test_the_linear_fit_is_that_of_the_examples_before():
    rng = np.random.default_rng(0)
    points, values = rng.normal(size=(3, 6, 2)), rng.normal(size=(3, 6))
    found = least_squares_errors(points, values)
    assert found[0] == pytest.approx(np.mean(values[:, 0] ** 2))
    guesses = []
    for x, y in zip(points, values, strict=True):
        a = np.vstack([np.c_[x[:5], np.ones(5)], np.sqrt(0.1) * np.eye(3)])
        fit = np.linalg.lstsq(a, np.r_[y[:5], 0, 0, 0], rcond=None)[0]
        guesses.append(np.r_[x[5], 1] @ fit - y[5])
    assert found[5] == pytest.approx(np.mean(np.square(guesses)))


def lines(end=30.0, start=100.0, misled=150.0, rate=0.003, seeds=5):
    """Lines of two rules whose errors fall from the first trial to the last ones."""
    return [
        {
            **{"rule": rule, "seed": seed, "learning_rate": rate},
            **{"place": place, "places": 8, "linear": 50.0},
            "error": (start if place == 1 else end) + seed,
            "misled": misled + 2 * seed,
        }
        for rule in (BASELINE, claim.EPROP)
        for seed in range(seeds)
        for place in range(1, 9)
    ]


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (lines(), "holds"),
        (lines(end=95), "does not hold"),
        (lines(start=40), "does not hold"),
        (lines(misled=35), "does not hold"),
        (lines(end=78, start=120), "not settled"),
        (lines(rate=claim.SIZES["full"].rates[-1]), "not settled"),
        (lines(seeds=4), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_the_end_of_episodes(found, word):
    assert claim.judge(found).word == word


def test_lines_are_drawn():
    assert_drawn(claim, lines())


@pytest.mark.sweep
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    errors = np.reshape([line["error"] for line in outcome.lines], (2, 4))
    assert np.all(errors > 0) and np.all(errors[0] != errors[1])
