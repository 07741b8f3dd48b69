"""The summary of a comparison: from records to rows and table."""

import math

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from apical.lab._errors import LabError
from apical.lab._registry import CONTROL, RULES, SQUARED
from apical.lab.report._summary import Interval, curve, interval, standing, summarise
from apical.lab.report._terminal_table import outcome, table
from apical.lab.training._tuning import resampled_scores


def record(rule="backpropagation", model="mlp", seed=0, epoch=0, **changes):
    return {
        "data": "digits",
        "model": model,
        "rule": rule,
        "seed": seed,
        "seeds": 3,
        "epoch": epoch,
        "epochs": 2,
        "status": "ok",
        "message": "",
        "test_accuracy": 0.1 + 0.4 * epoch + 0.01 * seed,
        "descends": "cross-entropy",
        "alignment_hidden": 0.5 + 0.2 * epoch,
        "alignment": 0.9,
        "seconds_per_step": None if epoch == 0 else 0.2 * epoch,
        "seconds_per_step_of_backpropagation": None if epoch == 0 else 0.1,
        "optimizer": "adam",
        "loss": "cross-entropy",
        "learning_rate": 0.003,
        "hyper_parameters": "{}",
        "needs": ", ".join(RULES[rule].needs) if rule in RULES else "",
        "sweep": 0,
        "note": "",
    } | changes


def run(seeds=3, epochs=3, **changes):
    return [
        record(seed=seed, epoch=epoch, **changes)
        for epoch in range(epochs)
        for seed in range(seeds)
    ]


def diverged(**changes):
    records = run(**changes)
    for r in records:
        if r["seed"] == 1 and r["epoch"] > 0:
            r.update(status="diverged", test_accuracy=None, alignment_hidden=None)
    return records


def refused(**changes):
    empty = dict.fromkeys(("test_accuracy", "alignment_hidden", "alignment"))
    return run(epochs=1, status="refused", message="no `[x]` here", **empty, **changes)


ALL = [
    *(
        r
        for name in RULES
        for model in ("mlp", "cnn")
        for r in run(rule=name, model=model)
    )
]


def test_the_interval_is_that_of_students_t():
    values = [0.9, 0.95, 0.97, 0.91]
    found = interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert found.mean - found.half == pytest.approx(low)
    assert found.mean + found.half == pytest.approx(high)


def test_one_seed_has_no_interval_and_none_no_mean():
    assert interval([0.5]).mean == 0.5 and math.isnan(interval([0.5]).half)
    assert math.isnan(interval([None, None]).mean)


def test_a_row_is_the_last_epoch_and_the_first_alignment():
    (row,) = summarise(run())
    assert row.accuracy.mean == pytest.approx(0.91)
    assert (row.alignment_start.mean, row.alignment_end.mean) == pytest.approx(
        (0.5, 0.9)
    )
    assert row.status == "ok" and row.seeds == 3


def test_the_time_is_the_ratio_of_the_medians():
    (row,) = summarise(run())
    assert row.seconds_per_step == pytest.approx(0.3)
    assert row.time_ratio == pytest.approx(3.0)


def test_rows_keep_the_order_of_the_runs():
    names = [row.rule for row in summarise(ALL) if row.model == "cnn"]
    assert names == list(RULES)


def test_a_run_cut_short_is_unfinished_and_a_lost_seed_makes_it_diverged():
    assert summarise(run(epochs=2))[0].status == "unfinished"
    row = summarise(diverged())[0]
    assert (row.status, row.diverged, row.seeds) == ("diverged", 1, 3)


def test_a_curve_has_gaps_where_nothing_was_measured():
    epochs, values = curve(diverged(), "test_accuracy")
    assert epochs.tolist() == [0, 1, 2]
    assert np.isnan(values).tolist() == [[False] * 3] + [[False, True, False]] * 2


def printed(records, width):
    console = Console(width=width, file=None, record=True, quiet=False)
    with console.capture() as capture:
        console.print(table(records, summarise(records)))
    return capture.get()


@pytest.mark.parametrize("width", [80, 120])
def test_the_whole_table_can_be_read_at(width):
    text = printed(ALL, width)
    assert max(len(line) for line in text.splitlines()) <= width
    for name in RULES:
        assert text.count(f"\n {name} ") == 2
    assert text.count("91.0 ± 2.5") == text.count("0.50 → 0.90") == 2 * len(RULES)
    assert text.count("+0.0 ± 0.0") == 2 * len(RULES) - 4
    assert "…" not in text
    flat = " ".join(text.split())
    assert "step size 0.003 for every rule, no tuning" in flat
    assert "Biological requirements: `apical rules`" in flat


def test_the_difference_to_backpropagation_is_paired_by_seed():
    better = run(rule="kolen-pollack")
    for r in better:
        r["test_accuracy"] += 0.001 * (1 + r["seed"]) - 0.002
    plain, row = summarise(run() + better)
    assert (plain.difference.mean, plain.difference.half) == (0, 0)
    pairs = stats.ttest_rel([0.909, 0.920, 0.931], [0.91, 0.92, 0.93])
    low, high = pairs.confidence_interval(0.95)
    assert row.difference.mean - row.difference.half == pytest.approx(low)
    assert row.difference.mean + row.difference.half == pytest.approx(high)
    assert row.accuracy.half > 5 * row.difference.half  # what pairing is for


def test_a_difference_needs_both_ends():
    cut_short = run(rule="kolen-pollack", epochs=2)
    assert math.isnan(summarise(run() + cut_short)[1].difference.mean)
    one_lost = diverged(rule="kolen-pollack")
    row = summarise(run() + one_lost)[1]
    assert row.difference.mean == pytest.approx(0)  # of the two seeds that are left


def test_the_cost_of_a_run_is_its_own():
    costs = [
        {"model": "mlp", "rule": "kolen-pollack", "flops_ratio": 2.0, "depth": 7},
        {"model": "cnn", "rule": "backpropagation", "flops_ratio": 5.0, "depth": 9},
    ]
    plain, row = summarise(run() + run(rule="kolen-pollack"), costs)
    assert (row.flops_ratio, row.depth) == (2, 7)
    assert math.isnan(plain.flops_ratio) and math.isnan(row.memory_ratio)


def test_without_records_it_is_said():
    with pytest.raises(LabError, match="no records yet"):
        summarise([])


def test_the_step_size_that_a_sweep_found_is_in_the_table():
    text = " ".join(printed(run(sweep=16, learning_rate=0.0123), 120).split())
    assert "step" in text and "0.012" in text
    assert "each rule with its best of 16 trials" in text
    assert "0.003" not in printed(run(), 120).split("adam")[0]


def test_what_went_wrong_is_in_the_table():
    records = diverged() + refused(rule="kolen-pollack") + run(rule="sign-concordance")
    text = " ".join(printed(records, 100).split())
    assert "diverged 1/3" in text
    assert "kolen-pollack: refused. no `[x]` here" in text
    assert "note of the data" in printed(run(note="note of the data"), 100)


def test_a_rule_that_descends_another_loss_is_compared_with_its_own_baseline():
    other = {"descends": "squared-error"}
    clamped = run(rule="generec", **other)
    rows = summarise(run() + run(rule=SQUARED, **other) + clamped)
    assert [row.baseline for row in rows] == ["backpropagation", SQUARED, SQUARED]
    text = " ".join(printed(run() + run(rule=SQUARED, **other) + clamped, 120).split())
    assert (
        "These rules descend the squared-error, not the cross-entropy, and are "
        f"compared with {SQUARED}: generec."
    ) in text
    assert f"compared with {SQUARED}" not in printed(run(), 120)
    without = summarise(run() + clamped)[1]
    assert without.baseline == "" and math.isnan(without.difference.mean)
    text = " ".join(printed(run() + clamped, 120).split())
    assert "compared with nothing: generec" in text


# ---------------------------------------------------------------- the draw of trials


def trial(place, held_out, test, status="ok"):
    return {
        **{"model": "mlp", "rule": "backpropagation", "status": status},
        **{"held_out_accuracy": held_out, "held_out_loss": 1.0 / (1 + place)},
        "test_accuracy": test,
    }


def test_the_choice_among_trials_is_repeated_by_drawing_from_them():
    lines = [trial(i, 0.9 + 0.01 * i, 0.8 + 0.01 * i) for i in range(4)]
    answers = resampled_scores(lines)
    # The best of four trials is missing from a draw of four in (3/4)^4 of the cases.
    assert np.mean(answers < 0.825) == pytest.approx(0.75**4, abs=0.03)
    assert np.mean(answers < 0.805) == pytest.approx(0.25**4, abs=0.01)


def test_of_trials_that_are_equal_the_one_with_the_lowest_loss_is_chosen():
    lines = [trial(i, 0.9, 0.01 * i) for i in range(3)]
    assert np.mean(resampled_scores(lines) == 0.02) == pytest.approx(
        1 - (2 / 3) ** 3, abs=0.03
    )


def test_trials_that_diverged_are_chosen_where_all_did():
    lost = trial(0, None, None, status="diverged")
    answers = resampled_scores([lost, trial(1, 0.9, 0.8)])
    assert np.mean(answers == 0.0) == pytest.approx(0.25, abs=0.03)
    assert resampled_scores([lost, lost]) is None is resampled_scores([])


def test_the_interval_has_the_noise_of_tuning_where_there_were_trials():
    flat = [trial(i, 0.9, 0.8) for i in range(8)]
    noisy = [trial(i, 0.9 + 0.001 * i, 0.8 + 0.1 * (i % 2)) for i in range(8)]
    plain, same, wide = (
        summarise(run(), trials=trials)[0] for trials in ([], flat, noisy)
    )
    assert plain.accuracy == same.accuracy
    half = np.hypot(plain.accuracy.half, 0.05)
    assert wide.accuracy == (plain.accuracy.mean, pytest.approx(half))


def test_a_difference_is_of_the_same_draws_of_trials():
    noisy = [trial(i, 0.9 + 0.001 * i, 0.8 + 0.1 * (i % 2)) for i in range(8)]
    as_noisy = [line | {"rule": "kolen-pollack"} for line in noisy]
    records = run() + run(rule="kolen-pollack") + run(rule=CONTROL)
    _, row, control = summarise(records, trials=noisy + as_noisy)
    assert row.difference.half == 0 and row.accuracy.half > 0.05
    # The control has no trials here: the noise of the other's is that of both.
    assert row.above_control == (0, pytest.approx(0.05))
    assert control.above_control == (0, 0)


@pytest.mark.parametrize(
    ("mean", "half", "expected"),
    [
        *((0.0, 0.0, "equal"), (0.004, 0.004, "equal"), (-0.004, 0.007, "open")),
        *((0.02, 0.01, "above"), (-0.02, 0.01, "below"), (0.02, math.nan, "single")),
    ],
)
def test_equal_is_what_lies_within_the_band(mean, half, expected):
    assert standing(Interval(mean, half)) == expected


def test_a_single_seed_shows_no_interval():
    text = printed(run(seeds=1), 100)
    assert "90.0" in text and "±" not in text.split("adam")[0]


def test_the_outcome_of_a_run_is_one_line():
    said = "91.0 ± 2.5   alignment 0.50 → 0.90"
    assert outcome(summarise(run())[0]).plain == said
    assert "no `[x]` here" in outcome(summarise(refused())[0]).plain
    slow = [{"model": "mlp", "rule": "backpropagation", "steps": "slow"}]
    (row,) = summarise(run(), regimes=slow)
    assert outcome(row).plain == f"{said}   values slow"
