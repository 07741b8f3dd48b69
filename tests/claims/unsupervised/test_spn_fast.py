"""Sum-product networks beside predictive coding: exact sums, the judge, the runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.unsupervised import _completions as runs
from apical.claims.unsupervised import _generative_coding as coding
from apical.claims.unsupervised import _sum_product_network as spn
from apical.claims.unsupervised import spn_fast as claim
from apical.claims.unsupervised._training import run_lines

# Percent right after so many steps, of values and of errors.
COURSES = {coding.PLAIN: (60.0, 70.0, 80.0), coding.ERRORS: (60.0, 79.9, 80.0)}
STEPS = (2, 16, 256)


def lines(seeds=6, right=85.0, nats=-20.0, courses=COURSES, noise=0.05, **exact):
    """Lines of both networks; by default 16 steps of errors are needed: 66 layers."""
    found = []
    exactness = {"error": 1e-12, "total": 1 + 1e-12, "moved": 0.3} | exact
    for seed in range(seeds):
        jitter = noise * (seed % 3 - 1)
        found.append({"part": "exact", "seed": seed, **exactness})
        said = {"part": "digits", "data": "digits", "learning_rate": 0.1}
        course = {"score": [nats + jitter] * 2, "right": [right + jitter] * 2}
        said |= {"rule": claim.SUM_PRODUCT, "layers": 14, "seconds": 1.0}
        found += run_lines(course, said, seed)
        course = {"score": [80.0] * 2}
        for kind, values in courses.items():
            for steps, value in zip(STEPS, values, strict=True):
                course[f"{kind}, {steps}"] = [value] * 2
        found += run_lines(course, said | {"rule": claim.CODING}, seed)
    apart = {"part": "digits", "data": "digits", "rule": claim.APART}
    return [*found, {**apart, "score": -25.5, "right": 70.0}]


AT_ONCE = {kind: (80.0, 80.0, 80.0) for kind in COURSES}
CASES = {
    "holds": [lines(), lines(right=79.8)],
    "holds within limits": [lines(right=75.0), lines(right=79.5, noise=0.8)],
    "does not hold": [
        lines(courses=AT_ONCE),
        lines(error=1e-3),
        lines(total=1.1),
        lines(right=60.0),
        lines(nats=-26.0, noise=0.01),
    ],
    "not settled": [
        lines(seeds=4),
        lines(moved=1e-4),
        lines(nats=-25.0, noise=1.0),
        [],
    ],
}


@pytest.mark.parametrize("word", CASES)
def test_each_verdict_follows_from_lines_that_must_give_it(word):
    found = [claim.judge(each) for each in CASES[word]]
    assert [verdict.word for verdict in found] == [word] * len(found), [
        verdict.because for verdict in found
    ]


def test_layers_are_those_of_the_faster_kind_up_to_what_both_reach():
    per_step = coding.PER_STEP[coding.ERRORS]
    assert set(claim.needed_layers(lines()).values()) == {16 * per_step + 2}
    plain = lines(courses=COURSES | {coding.ERRORS: (0.0, 0.0, 0.0)})
    assert set(claim.needed_layers(plain).values()) == {256 * 2 + 2}
    low = lines(right=70.2)  # what the other network reaches
    assert set(claim.needed_layers(low).values()) == {16 * 2 + 2}


def test_a_seed_that_diverged_is_left_out_of_all_pairs():
    lost = lines()
    for line in lost:
        if line.get("rule") == claim.CODING and line["seed"] == 1:
            line |= {"status": "diverged", "score": None}
    assert set(claim.needed_layers(lost)) == {0, 2, 3, 4, 5}
    assert claim.judge(lost).word == "holds"


def test_lines_are_drawn():
    assert_drawn(claim, lines())


@pytest.mark.slow
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    exact = [line for line in outcome.lines if line["part"] == "exact"]
    assert all(line["error"] < claim.EXACT for line in exact)


# --------------------------------------------------------------------- the networks


def test_one_backward_pass_gives_the_marginals_and_another_order_does_not():
    with jax.enable_x64(True):
        found = runs.exactness(0, 8)
        params = spn.initial(jax.random.key(0), 8, 3)
        seen = np.arange(8) < 4
        x = np.random.default_rng(0).integers(0, 2, (6, 8))
        exact, _ = spn.enumerated(params, x, seen)
        wrong = spn.marginals(params, spn.indicators(x[::-1], jnp.asarray(seen)))
    assert found["error"] < claim.EXACT and abs(found["total"] - 1) < claim.EXACT
    assert found["moved"] > claim.SEEN
    off = np.abs(np.asarray(wrong) - exact)[:, 4:]
    assert off.max() > claim.SEEN  # the control


def test_the_depth_is_that_of_leaves_mixtures_and_root():
    assert spn.depth(spn.initial(jax.random.key(0), 64, 1)) == 7
    assert [p.shape[1] for p in spn.initial(jax.random.key(0), 8, 2)["sum"]] == [2, 1]


@pytest.mark.sweep
def test_causes_are_inferred_from_what_is_seen_alone():
    """Inference fits what is seen, and nothing else changes what it finds."""
    params = coding.initial(jax.random.key(0), 6)
    params["h"]["w"] = 2 * params["h"]["w"]
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (3, 6)), jnp.float32)
    seen = jnp.asarray([[1.0, 1, 1, 0, 0, 0]] * 3)
    few, many = (coding.completed(params, x * seen, seen, n) for n in (1, 200))
    other = coding.completed(params, (1 - x) * (1 - seen) + x * seen, seen, 200)
    np.testing.assert_allclose(other, many, atol=1e-5)
    apart = [jnp.sum(seen * jax.nn.softplus((1 - 2 * x) * z)) for z in (few, many)]
    assert float(apart[1]) < float(apart[0])
    flipped = coding.completed(params, (1 - x) * seen, seen, 200)
    assert not np.allclose(flipped, many, atol=1e-2)
