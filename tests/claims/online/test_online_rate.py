"""Following a task that changes: the runs by hand, the judge, the smallest form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.online import online_rate as claim
from apical.claims.online._drifting_task import (
    EPROP,
    READOUT,
    RTRL,
    TAU,
    WINDOWS,
    Form,
    Run,
    relative_errors,
    weights,
)

FORM = Form(channels=2, teacher=3, units=4, steps=30, window=10)
RATE, OMEGA, SEED = 0.3, 0.02, 5
KEPT = np.exp(-1 / TAU)


def advance(p, h, x):
    h = KEPT * h + (1 - KEPT) * np.tanh(x @ p["incoming"] + h @ p["recurrent"])
    return h, h @ p["readout"]


def drawn():
    """The weights of both networks, inputs and targets of one run."""
    keys = jax.random.split(jax.random.key(SEED), 4)
    mine, a, b = (
        {k: np.asarray(v, float) for k, v in weights(key, 2, n).items()}
        for key, n in zip(keys, (4, 3, 3), strict=False)
    )
    xs = np.asarray(jax.random.normal(keys[3], (30, 1, 2)), float)[:, 0]
    h, targets = np.zeros(3), []
    for t, x in enumerate(xs):
        turned = {k: np.cos(OMEGA * t) * a[k] + np.sin(OMEGA * t) * b[k] for k in a}
        h, y = advance(turned, h, x)
        targets.append(y)
    return mine, xs, np.array(targets)


def by_hand(rule):
    """Errors of a network whose traces are written out, in double precision."""
    p, xs, targets = drawn()
    h, errors = np.zeros(4), []
    # d h / d weights: of unit i by a weight into unit j, from input or unit k.
    of_w, of_u = np.zeros((4, 2, 4)), np.zeros((4, 4, 4))
    for x, target in zip(xs, targets, strict=True):
        slope = (1 - KEPT) * (1 - np.tanh(x @ p["incoming"] + h @ p["recurrent"]) ** 2)
        through = p["recurrent"].T if rule == RTRL else np.zeros((4, 4))
        passed = KEPT * np.eye(4) + slope[:, None] * through
        of_w = np.einsum("ij,jab->iab", passed, of_w)
        of_u = np.einsum("ij,jab->iab", passed, of_u)
        for i in range(4):
            of_w[i, :, i] += slope[i] * x
            of_u[i, :, i] += slope[i] * h
        h, y = advance(p, h, x)
        signal = p["readout"] @ (y - target)
        errors.append((y - target).item() ** 2)
        move = {"readout": np.outer(h, y - target)}
        if rule != READOUT:
            move["incoming"] = np.tensordot(signal, of_w, 1)
            move["recurrent"] = np.tensordot(signal, of_u, 1)
        p = {k: v - RATE * move.get(k, 0) for k, v in p.items()}
    return np.array(errors) / targets.var()


def found_by(rule):
    one = Run(*(jnp.asarray([value]) for value in (SEED, OMEGA, RATE)))
    return np.asarray(relative_errors(rule, FORM, one))[0]


def test_runs_are_those_of_traces_written_out():
    hand = {rule: by_hand(rule) for rule in (EPROP, RTRL, READOUT)}
    for rule, expected in hand.items():
        np.testing.assert_allclose(found_by(rule), expected, rtol=2e-3, atol=1e-5)
    assert abs(hand[EPROP] / hand[RTRL] - 1).max() > 0.02
    assert abs(hand[EPROP] / hand[READOUT] - 1).max() > 0.02


def test_windows_are_learned_from_after_their_last_step():
    found, still = found_by(WINDOWS), by_hand(READOUT)
    assert found[0] == pytest.approx(still[0], rel=1e-4)
    p, xs, targets = drawn()
    h, errors = np.zeros(4), []
    for x, target in zip(xs[:10], targets, strict=False):
        h, y = advance(p, h, x)
        errors.append((y - target).item() ** 2 / targets.var())
    np.testing.assert_allclose(found[:10], errors, rtol=1e-3, atol=1e-6)
    assert abs(found[10:] - still[10:]).max() > 1e-3


def lines(eprop=5.0, exact=5.0, control=20.0, fast=None, rate=0.1, seeds=5):
    """Lines with these errors; of e-prop others at fast changes, if given."""
    noise = np.linspace(-0.5, 0.5, seeds)
    return [
        {
            **{"rule": rule, "level": level, "seed": seed, "learning_rate": rate},
            "error": float(
                (fast if fast and rule == EPROP and level in claim.FAST else at)
                + noise[seed] * (1 + len(rule) % 3)
            ),
        }
        for rule, at in (
            *((EPROP, eprop), (RTRL, exact), (READOUT, control), (WINDOWS, 50.0)),
        )
        for level in (*claim.SLOW, *claim.FAST)
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (lines(), "holds"),
        (lines(eprop=8), "holds"),
        (lines(fast=20.0), "holds within limits"),
        (lines(fast=90.0), "holds within limits"),
        (lines(eprop=15), "does not hold"),
        (lines(control=4.0), "does not hold"),
        (lines(eprop=9.8), "not settled"),
        (lines(rate=claim.SIZES["full"].rates[0]), "not settled"),
        (lines(seeds=4), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_the_errors(found, word):
    assert claim.judge(found).word == word


def test_the_collapse_is_where_the_error_crosses_a_half():
    found = claim.collapse(lines(eprop=10, fast=90.0), EPROP)
    assert found == pytest.approx(np.sqrt(claim.SLOW[-1] * claim.FAST[0]), rel=1e-3)
    assert claim.collapse(lines(), EPROP) is None
    assert claim.collapse([], EPROP) is None


def test_lines_are_drawn():
    assert_drawn(claim, lines())


@pytest.mark.sweep
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert {line["rule"] for line in outcome.lines} == {EPROP, READOUT}
    assert all(0 < line["error"] <= claim.LOST for line in outcome.lines)
