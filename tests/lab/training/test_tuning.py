"""The sweep: equal numbers of trials, scored on data of no reported run."""

import json

import numpy as np
import pytest
from support.lab_files import tiny
from support.lab_runs import compared

from apical import lab
from apical.lab.run import _runner
from apical.lab.training._train import Scores
from apical.lab.training._tuning import (
    SEEDS,
    averaged,
    best,
    choice,
    draw_trials,
    seeds_of_trials,
)

SPAN = (1e-4, 1e-1)
NAMES = ["backpropagation", "kolen-pollack", "untrained-hidden-layers"]


@pytest.fixture(scope="module")
def swept():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_runner, "cost_line", lambda *args: {"depth": 1})
        data = tiny(train=50)
        yield compared(data=data, rules=NAMES, sweep=4, epochs=3)


def test_every_rule_has_the_same_number_of_trials_at_the_same_step_sizes(swept):
    rates = {
        name: [t["learning_rate"] for t in swept.trials if t["rule"] == name]
        for name in NAMES
    }
    assert len(rates[NAMES[0]]) == 4 == len(set(rates[NAMES[0]]))
    assert rates[NAMES[0]] == rates[NAMES[1]]
    assert rates[NAMES[2]] == pytest.approx([10 * rate for rate in rates[NAMES[0]]])


def test_a_trial_is_scored_on_the_test_part_as_well(swept):
    """Twelve examples, and ten held out, each with three seeds."""
    for name, examples in (("test_accuracy", 12), ("held_out_accuracy", 10)):
        right = [3 * examples * trial[name] for trial in swept.trials]
        assert right == pytest.approx(np.round(right))
    assert any(t["test_accuracy"] != t["held_out_accuracy"] for t in swept.trials)


def test_only_the_rules_own_numbers_are_drawn(swept):
    drawn = [json.loads(t["numbers"]) for t in swept.trials]
    assert [list(d) for d in drawn] == [[]] * 4 + [["decay"]] * 4 + [[]] * 4
    decays = [d["decay"] for d in drawn[4:8]]
    assert len(set(decays)) == 4 and all(1e-5 <= decay <= 1e-2 for decay in decays)


def test_the_best_trial_is_what_is_run(swept):
    for row in swept.rows:
        trials = [t for t in swept.trials if t["rule"] == row.rule]
        (chosen,) = [t for t in trials if t["chosen"]]
        top = max(t["held_out_accuracy"] for t in trials)
        assert chosen["held_out_accuracy"] == top
        assert row.learning_rate == chosen["learning_rate"]
        numbers = json.loads(chosen["numbers"])
        made = json.loads(row.hyper_parameters)
        assert made == made | numbers
        assert len({t["held_out_loss"] for t in trials}) == 4


def test_trials_have_a_seed_of_their_own_and_runs_the_reported_ones(swept):
    assert {t["seeds_of_trial"] for t in swept.trials} == {3}
    assert not {r["seed"] for r in swept.records} & set(SEEDS)


def test_on_few_examples_a_trial_is_the_mean_over_several_seeds():
    assert seeds_of_trials(1_999) == SEEDS and len(seeds_of_trials(2_000)) == 1
    runs = draw_trials(2, SPAN, {"decay": (0.0, 1.0, "linear")}).repeated_with((7, 8))
    assert runs.seeds == (7, 8, 7, 8)
    first, again, *_ = runs.learning_rates
    assert first == again != runs.learning_rates[2]
    assert runs.numbers["decay"][0] == runs.numbers["decay"][1]
    found = averaged(
        scores([0.5, 0.7, 0.9, np.nan], [1, 3, 5, 7], [False] * 3 + [True]), 2
    )
    assert found.accuracy[0] == pytest.approx(0.6) and found.loss.tolist() == [2, 6]
    assert found.diverged.tolist() == [False, True] and best(found) == 0


def test_the_test_part_does_not_sway_the_choice(monkeypatch, swept):
    monkeypatch.setattr(_runner, "cost_line", lambda *args: {"depth": 1})
    data = tiny(train=50)
    other = data._replace(test_y=(data.test_y + 1) % 10)
    found = compared(data=other, rules=NAMES[:1], sweep=4, epochs=3)
    kept = ("held_out_accuracy", "held_out_loss", "chosen")
    mine, theirs = (
        [{k: t[k] for k in kept} for t in result.trials if t["rule"] == NAMES[0]]
        for result in (found, swept)
    )
    assert mine == theirs
    assert found.rows[0].accuracy.mean < swept.rows[0].accuracy.mean


def test_draws_fill_their_ranges_on_their_scales():
    space = {"a": (0.0, 10.0, "linear"), "b": (1e-6, 1.0, "log")}
    runs = draw_trials(256, SPAN, space)
    rates = np.log10(runs.learning_rates)
    a, b = np.array(runs.numbers["a"]), np.log10(runs.numbers["b"])
    for values, (low, high) in ((rates, (-4, -1)), (a, (0, 10)), (b, (-6, 0))):
        quarters = np.histogram(values, 4, (low, high))[0]
        assert quarters.sum() == 256 and (abs(quarters - 64) < 8).all()
    assert abs(np.corrcoef(np.stack([rates, a, b])) - np.eye(3)).max() < 0.2
    assert draw_trials(256, SPAN, {}).learning_rates == runs.learning_rates


def test_more_trials_begin_with_the_same():
    few, many = (draw_trials(n, SPAN, {}).learning_rates for n in (4, 16))
    assert many[:4] == few


def scores(accuracy, loss, diverged):
    return Scores(np.array(loss), np.array(accuracy), np.array(diverged))


def test_the_best_is_the_most_accurate_then_the_one_with_the_lowest_loss():
    sane = [False] * 3
    assert best(scores([0.1, 0.9, 0.8], [0.1, 2.0, 0.1], sane)) == 1
    assert best(scores([0.9, 0.9, 0.8], [0.3, 0.2, 0.1], sane)) == 1
    assert best(scores([0.9, 0.9, 0.9], [0.2, 0.2, 0.2], sane)) == 0


def test_what_has_diverged_is_never_the_best():
    lost = [True, False, True]
    assert best(scores([np.nan, 0.1, 0.9], [np.nan, 3.0, 0.1], lost)) == 1


def test_a_choice_is_the_numbers_of_a_trial():
    runs = draw_trials(3, SPAN, {"decay": (0.0, 1.0, "linear")})
    found = choice(runs, 2)
    assert found.learning_rate == runs.learning_rates[2]
    assert found.numbers == {"decay": runs.numbers["decay"][2]}


@pytest.mark.parametrize("number", [1, -1])
def test_a_sweep_of_one_trial_is_none(number):
    with pytest.raises(lab.LabError, match=f"--sweep {number}: .* at least two"):
        compared(sweep=number)
