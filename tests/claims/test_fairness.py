"""Refused verdicts, and what cannot be computed from the records."""

import json
from dataclasses import replace

import pytest
from support.claim_lines import runs
from support.toy_claim import TOY

from apical.claims import Outcome, Verdict, read_outcome, reported, run_claim
from apical.claims._claim import EarlierSetup, Task
from apical.claims._effect_size import paired_difference
from apical.claims._fairness import accuracy_rise, drawn_range, refuse_if_unfair
from apical.claims._verdict import Finding, decide
from apical.lab._registry import BASELINE, CONTROL

RULE = "feedback-alignment"
RATES = (0.01, 0.1, 1.0)


def lines(accuracies=(0.1, 0.9, 0.9, 0.9, 0.9, 0.9), rate=0.1, **said):
    """Five seeds of three rules, with these accuracies after 0, 1, 2, ... epochs."""
    return [
        {"rule": rule, "seed": seed, "epoch": epoch, "epochs": len(accuracies) - 1}
        | {"status": "ok", "test_accuracy": found, "optimizer": "adam"}
        | {"learning_rate": rate}
        | said
        for rule in (BASELINE, RULE, CONTROL)
        for seed in range(5)
        for epoch, found in enumerate(accuracies)
    ]


def trials(*rules, won=1, numbers=({}, {}, {}), rates=RATES):
    return [
        {"rule": rule, "trial": i, "learning_rate": rate, "chosen": i == won}
        | {"numbers": json.dumps(drawn)}
        for rule in rules
        for i, (rate, drawn) in enumerate(zip(rates, numbers, strict=True))
    ]


def judge(measured, other=BASELINE, margin=0.5):
    compared = {"rule": RULE}, {"rule": other}
    found = paired_difference(f"{RULE} - {other}", measured, compared, margin)
    return decide([Finding(found, "at least as high")])


def refusals(measured, drawn, tried=None, other=BASELINE, margin=0.5):
    """The reasons for which a verdict is refused, and what is not known."""
    claim = replace(TOY, trials=tried)
    found = refuse_if_unfair(claim, judge(measured, other, margin), measured, drawn)
    assert found.word == ("not settled" if found.refused else "holds")
    assert found.unrefused == ("holds" if found.refused else None)
    return found.refused, found.unknown


def test_a_fair_comparison_is_not_refused():
    assert refusals(lines(), trials(BASELINE, RULE)) == ((), ())
    assert refusals(lines(), []) == ((), ())


# -------------------------------------------------------------- ends of what is drawn


@pytest.mark.parametrize(("won", "end"), [(0, "smallest"), (2, "largest")])
def test_the_winner_may_not_be_at_an_end_of_the_step_sizes(won, end):
    drawn = trials(BASELINE) + trials(RULE, won=won)
    (reason,), _ = refusals(lines(), drawn)
    assert f"of the 3 trials of {RULE} the one with the {end} step size won" in reason
    (reason,), _ = refusals(lines(), trials(RULE) + trials(BASELINE, won=won))
    assert f"trials of {BASELINE}" in reason


@pytest.mark.parametrize(("won", "scale"), [(0, 0.9), (2, 0.1)])
def test_nor_at_an_end_of_another_number_of_the_rule(won, scale):
    scales = [0.5, 0.5, 0.5]
    scales[1] = scale
    scales[won] = 1 - scale
    drawn = trials(RULE, numbers=[{"scale": value} for value in scales])
    (reason,), _ = refusals(lines(), drawn + trials(BASELINE))
    assert f"{'largest' if scale > 0.5 else 'smallest'} scale won" in reason


def test_what_only_is_shown_may_win_anywhere():
    drawn = trials(BASELINE, RULE) + trials(CONTROL, won=0)
    (decides,), (shown,) = judge(lines()).effects, judge(lines(), CONTROL).effects
    says = "at least as high"
    for findings, refused in (
        ([Finding(decides, says), Finding(shown)], False),
        ([Finding(decides, says), Finding(shown, says)], True),
    ):
        found = refuse_if_unfair(TOY, decide(findings), lines(), drawn)
        assert bool(found.refused) == refused


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "batch_manhattan"])
@pytest.mark.parametrize("number", [6, 8, 16])
def test_of_earlier_records_the_ends_follow_from_the_number_of_trials(
    optimizer, number
):
    low, high = drawn_range(f"{optimizer}(momentum=0.9)", number)
    for end, won in (("smallest", low), ("largest", high)):
        measured = lines(rate=won, optimizer=optimizer)
        found, unknown = refusals(measured, [], tried=number)
        assert f"the {number} trials of {RULE} the one with the {end}" in " ".join(
            found
        )
        assert "trials were not kept" in unknown[0]
    inside = lines(rate=(low * high) ** 0.5, optimizer=optimizer)
    found, unknown = refusals(inside, [], tried=number)
    assert not found and "trials were not kept" in unknown[0]


# ------------------------------------------------------------------------- tuned alike


def test_the_control_and_backprop_have_as_many_trials_as_the_rule():
    for other in (BASELINE, CONTROL):
        (reason,), _ = refusals(lines(), trials(RULE), other=other)
        assert reason == f"unequal numbers of trials: {RULE} 3, {other} 0"
        fewer = trials(other, rates=(0.01, 0.1, 1.0, 2.0), numbers=({},) * 4)
        (reason,), _ = refusals(lines(), trials(RULE) + fewer, other=other)
        assert reason.endswith(f"{RULE} 3, {other} 4")


def test_a_run_of_an_earlier_set_up_is_judged_by_the_trials_that_it_had():
    before = replace(TOY, trials=16, earlier_setup=EarlierSetup("One rate.", 0))
    assert before.trials_in(lines(), []) == 0
    assert before.trials_in(lines(), trials(RULE)) == 16
    by_seeds = replace(TOY, earlier_setup=EarlierSetup("Fewer seeds.", 6, seeds=5))
    assert by_seeds.trials_in([{"seed": seed} for seed in range(5)], []) == 6
    assert by_seeds.trials_in([{"seed": seed} for seed in range(9)], []) is None
    told = reported(Outcome(before, "full", lines(), Verdict("holds", "so")))
    assert "**Run with an earlier set-up.** One rate." in told
    now = Outcome(before, "full", lines(), Verdict("holds", "so"), trials(RULE))
    assert "earlier set-up" not in reported(now)


def test_rules_that_all_ran_at_one_step_size_settle_nothing():
    (reason,), _ = refusals(lines(), [], tried=0)
    assert "nothing was tuned" in reason and "control" in reason


# ------------------------------------------------------------------------ undertrained


def test_backprop_may_not_rise_by_more_than_the_margin_over_the_last_fifth():
    slow = lines((0.1, 0.5, 0.6, 0.7, 0.8, 0.8051))
    (reason,), _ = refusals(slow, trials(BASELINE, RULE))
    assert f"{BASELINE} is undertrained: it rises by 0.51 points" in reason
    still = lines((0.1, 0.5, 0.6, 0.7, 0.8, 0.8049))
    assert refusals(still, trials(BASELINE, RULE)) == ((), ())
    assert refusals(slow, trials(BASELINE, RULE), margin=0.6) == ((), ())


def test_a_rule_is_refused_too_where_only_backprop_beside_it_still_learns():
    slow = lines((0.1, 0.5, 0.6, 0.7, 0.8, 0.85))
    flat = [line for line in lines() if line["rule"] != BASELINE]
    mixed = [line for line in slow if line["rule"] == BASELINE] + flat
    (reason,), _ = refusals(mixed, trials(CONTROL, RULE), other=CONTROL)
    assert "undertrained" in reason


@pytest.mark.parametrize(
    ("accuracies", "risen"),
    [
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 10.0),  # the last of five epochs
        ((0.1, 0.2, 0.3, 0.4), 6.0),  # three fifths of the last of three
        ((0.0, 0.2, 0.3), 4.0),
        ((0.0, 0.9), None),  # within the only epoch nothing was measured
        ((0.0,), None),
        ((0.1, 0.9, 0.9, 0.9, 0.9, 0.8), -10.0),
        ((0.1,) + (0.5,) * 8 + (0.6, 0.8), 30.0),  # two epochs of ten
    ],
)
def test_the_rise_is_measured_between_epochs_along_straight_lines(accuracies, risen):
    found = accuracy_rise(
        [line for line in lines(accuracies) if line["rule"] == BASELINE]
    )
    assert found == (None if risen is None else pytest.approx(risen))


def test_what_cannot_be_computed_is_said():
    drawn = trials(BASELINE, RULE)
    _, (reason,) = refusals(lines((0.1, 0.9)), drawn)
    assert "is not known: there is one epoch" in reason
    alone = [line for line in lines() if line["rule"] != BASELINE]
    _, (reason,) = refusals(alone, trials(CONTROL, RULE), other=CONTROL)
    assert "is not known: it was not run in that place" in reason


# -------------------------------------------------------------------- trials are kept


def test_trials_are_kept_with_the_records_and_no_judge_takes_them_for_runs(tmp_path):
    seen = []

    def judged(measured):
        seen.append(measured)
        return judge(measured)

    def work(context):
        del context
        return lines() + trials(BASELINE) + trials(RULE, won=0)

    claim = replace(
        TOY, tasks=lambda scale: [Task("a", work)], judge=judged, draw=_nothing
    )
    outcome = run_claim(claim, "full", tmp_path)
    again = read_outcome(claim, "full", tmp_path)
    assert again is not None
    for found in (outcome, again):
        assert len(found.trials) == 6 and len(found.lines) == len(lines())
        assert found.verdict.unrefused == "holds"
        assert "the smallest step size won (0.01)" in found.verdict.refused[0]
    assert not any("trial" in line for each in seen for line in each)
    told = json.loads((tmp_path / "full" / "toy" / "verdict.json").read_text())
    assert told["verdict"] == "not settled" and told["refused"]
    assert told["by the numbers alone"] == "holds"
    report = (tmp_path / "full" / "toy" / "report.md").read_text()
    assert "**A verdict is refused.**" in report
    assert "By the numbers alone: holds." in report


def _nothing(measured):
    del measured
    return TOY.draw([{"x": 1}])


def test_accuracies_of_lost_seeds_are_left_out_or_count_as_nothing():
    measured = runs({RULE: 0.9, BASELINE: 0.9})
    for line in measured:
        if line["seed"] == 2 and line["rule"] == RULE:
            line["status"] = "diverged"
    compared = {"rule": RULE}, {"rule": BASELINE}
    assert paired_difference("a - b", measured, compared, 0.5).seeds == 4
    counted = paired_difference("a - b", measured, compared, 0.5, lost=0.0)
    assert counted.seeds == 5 and counted.low < -10
