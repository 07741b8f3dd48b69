"""A network cut in half while it learns: the cut, the judge, the smallest form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.predictive_coding import lesion as claim
from apical.claims.predictive_coding._halved_network import (
    CutTraining,
    initial,
    left_pixels,
    targets,
    within_halves,
)
from apical.lab._registry import BASELINE

SIZES = (6, 4, 4, 20)
LEFT = left_pixels((1, 1, 6))


def moved(rule, cut):
    """The change of the left half's weights when what the right half sees changes."""
    whole = jax.tree.map(jnp.ones_like, within_halves(SIZES, LEFT))
    params = initial(jax.random.key(0), SIZES)
    step = CutTraining(claim.RULES[rule], SIZES, LEFT, 1).step_at(0.01, {})
    kept = within_halves(SIZES, LEFT) if cut else whole
    x, y = jax.random.normal(jax.random.key(1), (3, 6)), targets(jnp.arange(3))
    state = step.init(jax.random.key(2), params, whole, x, y)
    other = jnp.where(LEFT, x, -x), y.at[:, 10:].set(y[::-1, 10:])
    found = [step.learner(params, state.rule, kept, *b).grads for b in ((x, y), other)]
    within = within_halves(SIZES, LEFT)
    differences = []
    for name, mask in within.items():
        left = np.asarray(mask) * np.asarray(
            jnp.arange(mask.shape[1]) < mask.shape[1] // 2
        )
        a, b = (np.asarray(grads[name]["weight"]) for grads in found)
        differences.append(float(np.abs(left * (a - b)).max()))
    return max(differences)


@pytest.mark.parametrize("rule", [claim.CODING, claim.FEEDBACK, BASELINE])
def test_after_the_cut_nothing_reaches_the_other_half(rule):
    assert moved(rule, cut=False) > 1e-3
    assert moved(rule, cut=True) == 0


def cut_lines(new=0.9, frozen=0.8, function=0.5, spread=0.001, seeds=5):
    noise = spread * np.linspace(-1, 1, seeds)
    ended = {claim.CODING: new, claim.FROZEN: frozen, BASELINE: 0.92}
    ended[claim.FEEDBACK] = 0.85
    return [
        {"rule": rule, "half": half, "seed": seed, "epoch": epoch, "epochs": 5}
        | {"status": "ok", "data": "mnist", "test_accuracy": accuracy + drawn}
        | {"before_the_cut": 0.97, "after_the_cut": function, "learning_rate": 0.1}
        for rule, accuracy in ended.items()
        for half in claim.HALVES
        for seed, drawn in enumerate(noise * (rule == claim.CODING))
        for epoch in (4, 5)
    ]


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (cut_lines(), "holds"),
        (cut_lines(function=0.15), "holds within limits"),
        (cut_lines(new=0.8), "does not hold"),
        (cut_lines(frozen=0.89, spread=0.02), "not settled"),
        (cut_lines(seeds=4), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_what_the_halves_do(lines, word):
    assert claim.judge(lines).word == word


@pytest.mark.slow
def test_the_smallest_form_runs_settles_nothing_and_is_drawn(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert {line["rule"] for line in outcome.lines} == set(claim.RULES)
    assert {line["half"] for line in outcome.lines} == set(claim.HALVES)
    assert outcome.verdict.word == "not settled"
    assert_drawn(claim.CLAIM, cut_lines())
