"""Steps of predictive coding against depth: counts, the judge, the smallest form."""

import jax
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

import apical
from apical.claims import run_claim
from apical.claims.networks import tanh_net
from apical.claims.predictive_coding import parallel as claim
from apical.claims.predictive_coding._free_inference import FreePredictionInference
from apical.claims.predictive_coding._untrained_networks import UntrainedNetwork


@pytest.fixture(scope="module")
def net():
    return UntrainedNetwork(tanh_net(3, 5), (1, 8, 8), 10, 4)


def test_ticks_are_those_of_the_rule_and_go_to_its_gradient(net):
    problem = net.problem(0)
    inference = FreePredictionInference(problem)
    begin = inference.start(problem)
    rule = apical.rules.PredictiveCoding(7, 0.2, prediction="free")
    learner = apical.value_and_grad(problem.loss_fn, rule, **problem.keywords)
    grads = jax.tree.leaves(learner(problem.params, (), *problem.args).grads)
    for found, expected in zip(
        inference.rest(problem, begin, 0.2, 7).grads, grads, strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    cosines = inference.cosines(problem, begin, grads, 0.2, 9)
    assert len(cosines) == 10
    assert int(np.argmax(cosines)) == 7 and cosines[7] == pytest.approx(1, abs=1e-5)


def test_paths_are_counted_as_they_are_by_hand(net):
    problem = net.problem(0)
    paths = claim._paths(
        problem,
        claim.FixedPredictionInference(problem),
        FreePredictionInference(problem),
    )
    # Three products forward, two back, one for the gradient of the first weights; and
    # in a tick of free predictions one forward and one back.
    assert paths == claim.Paths(forward=3, backprop=6, linear=1, tick=2, pull=2)


def counted(one_phase=1.0, path=0.7, whole=1.0, residual=1e-6, seeds=5):
    """Lines in which steps are so many times the layers, and paths backprop's."""
    times = {claim.BACKPROP: 1.0, claim.WHOLE: whole, claim.ONE_PHASE: one_phase}
    return [
        {"layers": layers, "seed": seed, "schedule": name, "phases": claim.PHASES[name]}
        | {"steps": round(layers * times.get(name, 10.0)), "forward": layers}
        | {"path": 2 * layers * (path if name == claim.ONE_PHASE else 1.0)}
        | {"cosine": 0.9, "residual": residual, "reached": True, "rate": 0.1}
        for layers in claim.DEPTHS
        for seed in range(seeds)
        for name in claim.PHASES
    ]


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (counted(), "holds"),
        (counted(one_phase=10.0), "holds within limits"),
        (counted(path=0.9), "holds within limits"),
        (counted(one_phase=10.0, whole=3.0), "does not hold"),
        (counted(residual=0.1), "not settled"),
        (counted(seeds=4), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_steps_and_paths(lines, word):
    assert claim.judge(lines).word == word


def test_how_steps_grow_is_the_slope_between_logarithms():
    assert claim.growth(counted(), claim.WHOLE) == pytest.approx(1)
    assert claim.growth([], claim.WHOLE) is None


def test_the_smallest_form_runs_settles_nothing_and_is_drawn(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert {line["schedule"] for line in outcome.lines} == set(claim.PHASES)
    assert outcome.verdict.word == "not settled"
    whole = [line for line in outcome.lines if line["schedule"] == claim.WHOLE]
    assert [line["steps"] for line in whole] == [1]  # one node: one whole step
    assert_drawn(claim.CLAIM, counted())
