"""Learning in lockstep with a stream: runs by hand, the judge, the smallest form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.predictive_coding import streaming as claim
from apical.claims.predictive_coding._input_stream import (
    BACKPROP,
    LOCKSTEP,
    READOUT,
    RULES,
    SETTLED,
    VALUE_RATE,
    Form,
    Run,
    relative_errors,
    stream,
    weights,
)

FORM, SEED, TAU, RATE = Form(2, 3, 4, 30), 3, 5.0, 0.1


def lockstep_by_hand():
    """Errors of a network in which values and weights take one step each, per tick."""
    keys = jax.random.split(jax.random.key(SEED), 3)
    a, b, c = (np.asarray(w, float) for w in weights(keys[0], 2, 4, 4, 1))
    xs, ys = (np.asarray(each, float) for each in stream(FORM, keys[1], TAU))
    v1 = np.tanh(xs[0] @ a)
    v2, errors = np.tanh(v1 @ b), []
    for x, y in zip(xs, ys, strict=True):
        errors.append(((np.tanh(np.tanh(x @ a) @ b) @ c - y) ** 2).item())
        p1, p2, out = np.tanh(x @ a), np.tanh(v1 @ b), v2 @ c
        e1, e2, e3 = v1 - p1, v2 - p2, y - out
        back2, back1 = e2 * (1 - p2**2), e1 * (1 - p1**2)
        moves = x.T @ back1, v1.T @ back2, v2.T @ e3
        v1, v2 = (
            v1 - VALUE_RATE * (e1 - back2 @ b.T),
            v2 - VALUE_RATE * (e2 - e3 @ c.T),
        )
        a, b, c = (w + RATE * m for w, m in zip((a, b, c), moves, strict=True))
    return np.array(errors) / ys.var()


def test_lockstep_is_one_step_of_values_and_of_weights_at_every_tick():
    one = Run(*(jnp.asarray([value]) for value in (SEED, TAU, RATE)))
    found = np.asarray(relative_errors(LOCKSTEP, FORM, one))[0]
    np.testing.assert_allclose(found, lockstep_by_hand(), rtol=2e-3, atol=1e-5)
    settled = np.asarray(relative_errors(SETTLED, FORM, one))[0]
    assert abs(settled - found).max() > 1e-3


def test_an_input_forgets_its_past_in_the_time_that_is_said():
    xs, _ = stream(Form(1, 2, 2, 40_000), jax.random.key(0), jnp.asarray(10.0))
    x = np.asarray(xs).ravel()
    assert x.std() == pytest.approx(1, abs=0.1)
    assert np.mean(x[10:] * x[:-10]) == pytest.approx(np.exp(-1), abs=0.08)


def followed(slow=10.0, fast=10.0, settled=10.0, control=40.0, rate=0.1, seeds=5):
    noise = np.linspace(-0.5, 0.5, seeds)
    return [
        {"rule": rule, "level": level, "seed": seed, "learning_rate": rate}
        | {"settling_time": 8.0, "error": error + (rule == LOCKSTEP) * noise[seed]}
        for level in claim.LEVELS
        for seed in range(seeds)
        for rule, error in zip(
            RULES,
            (slow if level in claim.SLOW else fast, settled, settled, control),
            strict=True,
        )
    ]


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (followed(), "holds"),
        (followed(fast=60.0), "holds within limits"),
        (followed(slow=60.0, fast=60.0), "does not hold"),
        (followed(control=5.0), "does not hold"),
        (followed(slow=15.0, fast=15.0), "not settled"),
        (followed(rate=claim.TRIED[0]), "not settled"),
        (followed(seeds=4), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_the_errors_at_each_level(lines, word):
    assert claim.judge(lines).word == word


def test_the_smallest_form_runs_settles_nothing_and_is_drawn(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert {line["rule"] for line in outcome.lines} == {LOCKSTEP, READOUT}
    assert outcome.lines[0]["settling_time"] > 1
    assert outcome.verdict.word == "not settled"
    assert BACKPROP in {line["rule"] for line in followed()}
    assert_drawn(claim.CLAIM, followed(fast=60.0))
