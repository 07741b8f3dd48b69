"""Claims about feedback and signs: their experiments and their judges."""

import functools

import jax
import numpy as np
import pytest
from support.claim_lines import CASES
from support.drawn_claims import assert_drawn

import apical
from apical.claims import CLAIMS, _data, _tasks, run_claim
from apical.claims._claim import SCALES, TaskContext
from apical.claims.feedback import (
    bn_rates,
    fa_matches,
    fa_sparse,
    sign_enough,
    sign_fraction,
    sign_frozen_top,
    sign_magnitudes,
    sign_sparse,
)
from apical.claims.feedback._fashion_mnist import step_size_task, with_small_steps
from apical.claims.predictive_coding import trains as pc_trains
from apical.lab._control_rules import UntrainedHiddenLayers
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.data import _load
from apical.lab.report.figures._style import figure_style
from apical.lab.run._plan import make_plan
from apical.lab.training._setup import TrainConfig, TrainSetup, batch_order

MODULES = {
    module.CLAIM.id: module
    for module in (
        *(fa_matches, fa_sparse, sign_enough, sign_magnitudes, sign_fraction),
        *(sign_frozen_top, sign_sparse, bn_rates, pc_trains),
    )
}


@pytest.mark.parametrize("name", CASES)
def test_each_verdict_follows_from_lines_that_must_give_it(name):
    for word, cases in CASES[name].items():
        found = [MODULES[name].judge(lines) for lines in cases]
        assert [verdict.word for verdict in found] == [word] * len(cases), [
            verdict.because for verdict in found
        ]


@pytest.mark.parametrize("name", CASES)
def test_every_verdict_has_a_case_and_says_in_words_when_it_falls(name):
    words = {"holds", "does not hold", "not settled"}
    if "within limits" in CLAIMS[name].rule:
        words.add("holds within limits")
    assert set(CASES[name]) == words


@pytest.mark.parametrize("name", CASES)
def test_four_seeds_settle_nothing(name):
    lines = [e for e in CASES[name]["does not hold"][0] if e["seed"] < 4]
    assert MODULES[name].judge(lines).word == "not settled"


@pytest.mark.parametrize("name", CASES)
def test_lines_are_drawn(name):
    assert_drawn(CLAIMS[name], CASES[name]["holds"][0])
    with figure_style():
        whole = CLAIMS[name].draw(CASES[name]["holds"][0])
    assert any(axes.lines or axes.containers for axes in whole.axes)


# ---------------------------------------------------------- the work, without its time


@pytest.fixture
def planned(monkeypatch):
    """What `compare` is asked to do; it is planned, begun, and not done."""
    plans = []

    def only_plan(*, out, resume, report, console, **arguments):
        plans.append(make_plan(**_whole(arguments)))
        raise InterruptedError

    tiny = functools.partial(_load.load, "digits")
    monkeypatch.setattr(_tasks, "compare", only_plan)
    monkeypatch.setattr(_data, "load", lambda *_: tiny())
    return plans


def _whole(arguments):
    usual = {"data_dir": None, "download": False, "epochs": None, "seeds": 5}
    usual |= {"batch_size": 64, "optimizer": "adam", "learning_rate": None}
    return {**usual, "loss": "cross-entropy", "sweep": 0, **arguments}


def plan_of(claim, scale, plans, folder):
    for task in claim.tasks(scale):
        if task.name != fa_matches.LINEAR:
            with pytest.raises(InterruptedError):
                list(task.run(TaskContext(folder)))
    return plans


def test_small_steps_are_drawn_from_a_tenth_and_are_the_rule_otherwise():
    made = apical.rules.SignConcordance("fixed", concordance=0.75)
    small = with_small_steps(made)
    assert small.rate_scale == made.rate_scale / 10
    assert (small.magnitude, small.concordance) == (made.magnitude, made.concordance)
    assert with_small_steps(UntrainedHiddenLayers()).rate_scale == 1
    assert len(jax.tree.leaves(small)) == len(jax.tree.leaves(made))


COMPARED = [name for name in CASES if name not in ("bn-rates", "pc-trains")]


@pytest.mark.parametrize("name", COMPARED)
def test_the_full_form_is_fair_and_has_a_control(name, planned, tmp_path):
    beside = set()
    for plan in plan_of(CLAIMS[name], "full", planned, tmp_path):
        assert len(plan.seeds) >= 5
        beside |= {CONTROL, BASELINE} & set(plan.specs)
        assert plan.sweep is not None and plan.sweep.trials == 16
        assert CLAIMS[name].trials == 16
    assert beside == {CONTROL, BASELINE}


@pytest.mark.slow
def test_every_rate_is_a_run_from_the_same_weights_on_the_same_batches(tmp_path):
    size = bn_rates.SIZES["smoke"]._replace(epochs=2, seeds=2)

    def trained(*rates, **told):
        told = {"net": "with batch norm", "shuffle": True, "columns": {}, **told}
        named_rule = BASELINE, bn_rates.RULES[BASELINE]
        task = step_size_task(rates, size, named_rule=named_rule, **told)
        return {
            (e["learning_rate"], e["seed"], e["epoch"]): e["test_loss"]
            for e in task.run(TaskContext(tmp_path))
        }

    both = trained(0.05, 0.4)
    assert len(both) == 2 * 2 * 3
    alone = trained(0.4)
    for key, loss in alone.items():
        assert both[key] == pytest.approx(loss, rel=1e-4)
    assert both[0.05, 0, 0] == pytest.approx(both[0.4, 0, 0])
    assert both[0.05, 0, 2] != pytest.approx(both[0.4, 0, 2], rel=1e-3)
    fixed = trained(0.4, shuffle=False)
    assert fixed[0.4, 0, 1] == pytest.approx(alone[0.4, 0, 1], rel=1e-4)
    assert fixed[0.4, 0, 2] != pytest.approx(alone[0.4, 0, 2], rel=1e-4)


def test_the_rates_are_run_with_the_control_too():
    names = [task.name for task in CLAIMS["bn-rates"].tasks("full")]
    assert len(set(names)) == len(names) == 2 * 2 * 4
    assert any(CONTROL in name for name in names)
    assert any(BASELINE in name for name in names)


@pytest.mark.parametrize("name", ["sign-frozen-top", "sign-sparse"])
def test_every_rule_of_the_full_form_accepts_its_net(name, planned, tmp_path):
    plan = plan_of(CLAIMS[name], "full", planned, tmp_path)[0]
    for model_name, model in plan.models.items():
        start = TrainSetup(
            TrainConfig(plan.data, model_name, model, **plan.train_config)
        )
        params, statistics = start._built(0)[::2]
        for entry in plan.specs.values():
            learner = apical.value_and_grad(
                start.loss.training, entry.make(), **start.loss.setting
            )
            key = jax.random.key(0)
            jax.eval_shape(learner.init, key, params, statistics, *start.batch)


@pytest.mark.parametrize("name", CASES)
def test_a_claim_has_work_at_every_scale_in_folders_of_their_own(name):
    for scale in SCALES:
        names = [task.name for task in CLAIMS[name].tasks(scale)]
        assert names and len(set(names)) == len(names)
        assert not any("/" in task for task in names)


def test_text_is_cut_into_shorter_windows_that_go_on():
    text = "".join(chr(97 + i % 25) for i in range(2000))
    whole = pc_trains.windows(text, "letters", "")
    data = pc_trains.shortened(whole)
    assert data.train_x.shape[1] == pc_trains.LETTERS
    np.testing.assert_array_equal(data.train_x.ravel(), whole.train_x.ravel())
    np.testing.assert_array_equal(data.train_x[1:, 0], data.train_y[:-1, -1])


def test_without_shuffling_every_epoch_has_the_order_of_the_first():
    plan = make_plan(**_whole({"data": "digits", "models": None, "rules": [BASELINE]}))
    model = plan.models["mlp"]
    moving = TrainConfig(plan.data, "mlp", model, **plan.train_config)
    still = moving._replace(shuffle=False)
    first = batch_order(moving, (0, 1), 1)
    np.testing.assert_array_equal(batch_order(still, (0, 1), 1), first)
    np.testing.assert_array_equal(batch_order(still, (0, 1), 2), first)
    assert (batch_order(moving, (0, 1), 2) != first).any()


# ---------------------------------------------------------------- two that are trained


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claims")
    return {
        name: run_claim(CLAIMS[name], "smoke", folder)
        for name in ("fa-matches", "sign-frozen-top")
    }


@pytest.mark.slow
def test_a_smoke_gives_lines_that_are_judged_and_settle_nothing(outcomes):
    for name, outcome in outcomes.items():
        assert outcome.lines and outcome.verdict.word == "not settled", name
        assert outcome.verdict.effects
        assert {line["task"] for line in outcome.lines} == {
            task.name for task in outcome.claim.tasks("smoke")
        }


@pytest.mark.slow
def test_what_was_trained_is_drawn(outcomes):
    with figure_style():
        for outcome in outcomes.values():
            drawn = outcome.claim.draw(outcome.lines)
            assert any(axes.lines for axes in drawn.axes)


@pytest.mark.slow
def test_feedback_alignment_learns_the_linear_map_and_turns_towards_backprop(outcomes):
    lines = [e for e in outcomes["fa-matches"].lines if e["part"] == "linear"]
    mine = [e for e in lines if e["rule"] == "feedback-alignment" and e["seed"] == 0]
    assert mine[-1]["error"] < 0.2 < 0.9 < mine[0]["error"]
    assert mine[-1]["angle"] < mine[0]["angle"] - 10
    control = [e for e in lines if e["rule"] == CONTROL and e["seed"] == 0]
    assert control[-1]["error"] > 0.9
    exact = [e["angle"] for e in lines if e["rule"] == BASELINE]
    assert max(exact) < 0.1


@pytest.mark.slow
def test_hidden_layers_have_an_angle_of_their_own(outcomes):
    lines = fa_matches.with_angles(outcomes["fa-matches"].lines)
    ours = [e["angle"] for e in lines if e["rule"] == "feedback-alignment"]
    exact = [e["angle"] for e in lines if e["rule"] == BASELINE]
    assert max(exact) < 0.1 < 20 < min(ours)
